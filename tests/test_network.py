import socket

import pytest

from tests import network


@pytest.mark.parametrize("host", ["192.0.2.1", "llm.example.com", "8.8.8.8"])
def test_the_guard_refuses_what_is_outside_this_machine(host):
    with pytest.raises(network.NetworkReached):
        socket.create_connection((host, 80), timeout=1)

    assert network.attempts == [host]
    network.attempts.clear()


def test_the_guard_lets_loopback_through():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=1).close()

    assert network.attempts == []
