"""What one server process asks of the kernel for the connections of its clients."""

import contextlib
import errno
import itertools
import select
import socket
import sys
from types import SimpleNamespace

import pytest
import uvicorn

from courier_site import listener as listening
from courier_site import serve
from tests.e2e.packets import vanished
from tests.services import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux inherits these options")


SO_LOCK_FILTER = 44


@contextlib.contextmanager
def listening_at(host, *, grants_filters=True):
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("IPv6 is not on this machine.")
    with listening.bound(host, free_port()) as listener:
        listener.listen(8)
        if not grants_filters:
            listener.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
        yield listener


@pytest.fixture
def listener():
    with listening_at("127.0.0.1") as listener:
        yield listener


@pytest.fixture(params=itertools.product(("127.0.0.1", "::1"), (True, False)), ids=str)
def stopping(request):
    """A listener of each family, with a kernel that grants filters, and with one that does not."""
    host, grants_filters = request.param
    with listening_at(host, grants_filters=grants_filters) as listener:
        yield listener


def connected(listener):
    """A client's connection that the kernel has made, and nobody has accepted."""
    return socket.create_connection(listener.getsockname()[:2], timeout=0.3)


@pytest.mark.parametrize(
    ("level", "option", "value"),
    [
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", listening.DEAD_PEER_S // 2),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", listening.DEAD_PEER_S // 6),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", listening.DEAD_PEER_S * 1000),
        (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", listening.MOST_UNSENT),
    ],
)
def test_r11_r17_the_kernel_watches_over_every_connection(listener, level, option, value):
    with connected(listener), listener.accept()[0] as accepted:
        assert accepted.getsockopt(level, getattr(socket, option)) == value


@pytest.mark.fault
@pytest.mark.parametrize("told", [b"", b"a sign of life"], ids=["silent", "speaking"])
def test_r11_the_kernel_gives_up_a_client_whose_machine_is_gone(monkeypatch, told):
    monkeypatch.setattr(listening, "DEAD_PEER_S", 6)
    with listening.bound("127.0.0.1", free_port()) as listener:
        listener.listen(8)
        with connected(listener), listener.accept()[0] as accepted:
            with vanished(SimpleNamespace(port=listener.getsockname()[1])):
                accepted.sendall(told)
                select.select([accepted], [], [], 30)
            error = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    assert error == errno.ETIMEDOUT


def test_r14_a_stop_takes_what_the_kernel_has_made_and_no_more(stopping):
    with contextlib.closing(connected(stopping)) as early:
        listening.refuse_new(stopping)
        with pytest.raises(TimeoutError):
            connected(stopping)

        early.sendall(b"hello")
        with stopping.accept()[0] as accepted:
            assert accepted.recv(5) == b"hello"


@pytest.mark.parametrize(
    ("host", "hops"),
    [
        ("127.0.0.1", (socket.IPPROTO_IP, socket.IP_TTL)),
        ("::1", (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)),
    ],
)
def test_r14_a_connection_made_during_a_stop_without_filters_is_heeded_again(host, hops):
    with (
        listening_at(host, grants_filters=False) as stopping,
        socket.socket(stopping.family) as far,
    ):
        listening.refuse_new(stopping)
        far.setsockopt(*hops, 255)
        far.connect(stopping.getsockname())
        far.setsockopt(*hops, 64)
        with stopping.accept()[0] as accepted:
            far.sendall(b"hello")
            assert not select.select([accepted], [], [], 0.1)[0]

            listening.heed(accepted)

            assert select.select([accepted], [], [], 5)[0]


def test_r14_who_knocks_during_a_stop_is_refused_a_second_later(stopping):
    listening.refuse_new(stopping)
    with socket.socket(stopping.family) as late:
        late.setblocking(False)
        late.connect_ex(stopping.getsockname())
        stopping.close()
        select.select([], [late], [], 10)
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


async def test_r14_who_was_connected_before_a_stop_is_still_answered(listener):
    server = serve.Server(uvicorn.Config(answer, lifespan="off", log_config=None), 0, lambda: None)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    # Not `serve.Server.startup`, which tunes the garbage collector of the whole process.
    await uvicorn.Server.startup(server, [listener])
    with connected(listener) as early:
        early.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await server.shutdown([listener])

        assert early.recv(15) == b"HTTP/1.1 200 OK"


async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})
