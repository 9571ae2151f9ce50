"""What may happen to a Redis: each trouble lasts as long as its block."""

import contextlib
import os
import signal
import threading

import redis

from tests.services import free_port


def connected(server, **options):
    return redis.Redis(port=server.port, **options)


@contextlib.contextmanager
def stopped(server):
    server.halt()
    yield
    server.start()


@contextlib.contextmanager
def frozen(server):
    os.kill(server._process.pid, signal.SIGSTOP)
    yield
    os.kill(server._process.pid, signal.SIGCONT)


@contextlib.contextmanager
def slow(server):
    """It answers nobody for half a second, again and again."""
    over = threading.Event()

    def pause():
        with connected(server) as client:
            while not over.is_set():
                client.client_pause(500)
                over.wait(0.45)

    thread = threading.Thread(target=pause)
    thread.start()
    yield
    over.set()
    thread.join()


@contextlib.contextmanager
def out_of_memory(server):
    with connected(server) as client:
        client.config_set("maxmemory", "1")
    yield
    with connected(server) as client:
        client.config_set("maxmemory", "0")


@contextlib.contextmanager
def read_only(server):
    """It has become the replica of a server that does not answer."""
    with connected(server) as client:
        client.replicaof("127.0.0.1", free_port())
    yield
    with connected(server) as client:
        client.replicaof("NO", "ONE")


@contextlib.contextmanager
def locked(server):
    """Its password was changed, and all connections ended."""
    with connected(server) as client:
        client.config_set("requirepass", "another")
        client.client_kill_filter(_type="normal", skipme=True)
    yield
    with connected(server, password="another") as client:
        client.config_set("requirepass", "")
