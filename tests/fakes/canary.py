"""A listener at every address of this machine, which nobody should ever reach."""

import contextlib
import socket
import threading

#: Of one connection, to tell who came and with what.
READ_BYTES = 4096
READ_WITHIN_S = 0.2


class Canary:
    """Takes connections on one port, and remembers what each of them said first."""

    def __enter__(self):
        self.heard = []
        if socket.has_dualstack_ipv6():
            self._listener = socket.create_server(
                ("", 0), family=socket.AF_INET6, dualstack_ipv6=True
            )
        else:
            self._listener = socket.create_server(("", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def _listen(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.heard.append(_first_words(connection))


def _first_words(connection):
    with connection:
        connection.settimeout(READ_WITHIN_S)
        with contextlib.suppress(OSError):
            return connection.recv(READ_BYTES)
    return b""
