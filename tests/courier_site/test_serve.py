"""How a server lets go of its address."""

import socket
import sys

import pytest

from courier_site.serve import bound, refuse_new
from tests.services import free_port

SO_LOCK_FILTER = 44


@pytest.fixture
def listener():
    with bound("127.0.0.1", free_port()) as listener:
        listener.listen()
        yield listener


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has filters on sockets")
def test_r12_r14_a_stop_goes_on_where_the_kernel_grants_no_filter(listener):
    listener.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)

    refuse_new(listener)

    socket.create_connection(listener.getsockname(), timeout=5).close()
