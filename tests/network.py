"""A guard that notices every attempt to reach beyond this machine."""

import ipaddress
import sys

LOCAL_NAMES = {None, "", "localhost", b"localhost"}

#: What was tried since the last clearing.
attempts = []


class NetworkReached(OSError):
    """A test must not depend on the network."""


def forbid():
    """Refuse connections and look-ups outside loopback, in this process, from now on."""
    sys.addaudithook(_audit)


def _audit(event, arguments):
    if event == "socket.getaddrinfo":
        _check(arguments[0])
    elif event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        if isinstance(address, tuple):
            _check(address[0])


def _check(host):
    if not _is_local(host):
        attempts.append(str(host))
        raise NetworkReached(f"A test reached for {host}.")


def _is_local(host):
    if host in LOCAL_NAMES:
        return True
    text = host.decode() if isinstance(host, bytes) else host
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return ip.is_loopback or ip.is_unspecified
