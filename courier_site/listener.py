"""The socket that clients connect to: how it is had, and how it is let go of without a loss."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
import sys

#: Data that a client has not acknowledged for so long, or that long without a sign of life, means
#: that its machine is gone.
DEAD_PEER_S = 30
#: What the kernel takes for a client beyond what is on its way to it, in bytes. By itself it takes
#: megabytes: of memory, and of answers that are paid for and that nobody may read.
MOST_UNSENT = 128 * 1024
SO_ATTACH_FILTER = 26
#: Classic BPF on the head of a packet: with the flag SYN it is dropped, else it is taken.
NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
#: Linux's options for how many hops a packet must have left, by the family of the socket: one for
#: IPv6 hears both. 255 is the most that there can be; few systems begin with it.
HOPS_LEFT = {
    socket.AF_INET: ((socket.IPPROTO_IP, 21),),
    socket.AF_INET6: ((socket.IPPROTO_IP, 21), (socket.IPPROTO_IPV6, 73)),
}
MOST_HOPS = 255


class CannotListen(Exception):
    """The address cannot be had. The message says why."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that has this address. Connections are refused until a server listens on it."""
    if not 0 < port < 65536:
        raise CannotListen(f"PORT cannot be {port}: it is a number from 1 to 65535.")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _heed_peers(listener)
        listener.bind(address)
    except OSError as error:
        reason = (
            "is in use already"
            if error.errno == errno.EADDRINUSE
            else f"cannot be had: {error.strerror}"
        )
        raise CannotListen(f"The address {host}:{port} {reason}. Set HOST and PORT.") from error
    return listener


def _heed_peers(listener: socket.socket) -> None:
    """Let the kernel end connections whose peer is gone, and take little for one that is slow.

    Connections that are accepted inherit it.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", DEAD_PEER_S // 2),
        ("TCP_KEEPINTVL", DEAD_PEER_S // 6),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", DEAD_PEER_S * 1000),
        ("TCP_NOTSENT_LOWAT", MOST_UNSENT),
    ):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def refuse_new(listener: socket.socket) -> None:
    """Have the kernel begin no more connections; those that it has begun can still be accepted.

    Closing alone would reset the latter, after their clients have sent a request. What asks for
    a connection is dropped. It is asked for again a second later, and then refused, so that
    balancers try the next server. Some kernels grant no filter to processes without
    capabilities, as in containers; then all packets are dropped that may have less than the
    most hops left, those of connections not accepted yet too: these are sent again, see `heed`.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in NO_SYN))
    drop_new = struct.pack("HP", len(NO_SYN), ctypes.addressof(program))
    try:
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, drop_new)
    except OSError:
        _want_hops(listener, MOST_HOPS)


def heed(accepted: socket.socket) -> None:
    """Take what comes on a connection, whatever its listener drops by now."""
    if sys.platform == "linux":
        _want_hops(accepted, 0)


def _want_hops(of: socket.socket, least: int) -> None:
    for level, option in HOPS_LEFT.get(of.family, ()):
        with contextlib.suppress(OSError):
            of.setsockopt(level, option, least)
