"""Servers that an upstream should not be."""

import asyncio
import contextlib
import datetime
import ipaddress
import re
import socket
import ssl
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@contextlib.contextmanager
def self_signed_server():
    """The base URL of a server by TLS that nobody has vouched for."""
    context = _context()
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_serve, args=(listener, context), daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def _serve(listener, context):
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with contextlib.suppress(OSError), context.wrap_socket(connection, True) as secured:
                secured.recv(65536)


def _context():
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _loaded(certificate, key)


def _loaded(certificate, key):
    import tempfile

    pem = serialization.Encoding.PEM
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate.public_bytes(pem))
        file.write(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        file.flush()
        context.load_cert_chain(file.name)
    return context


class Sink:
    """An upstream that takes a body of any size, keeps none of it, and answers then."""

    def __init__(self, answer, *, status=200, is_early=False):
        self._answer = answer
        self._status = status
        #: Whether it answers without having read the body.
        self._is_early = is_early
        self.size = 0
        #: Cleared, nothing is read.
        self.reads = asyncio.Event()
        self.reads.set()
        self._serving = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(self, *exception):
        self._server.close()
        self.reads.set()
        await asyncio.gather(*self._serving)

    async def _serve(self, reader, writer):
        self._serving.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            if not self._is_early:
                chunked = b"transfer-encoding: chunked" in head.lower()
                await (self._take_chunks(reader) if chunked else self._take(reader, head))
            lines = [f"HTTP/1.1 {self._status} Some", "content-type: application/json"]
            lines += [f"content-length: {len(self._answer)}", "", ""]
            writer.write("\r\n".join(lines).encode() + self._answer)
            if self._is_early:
                # Nobody may be answered on this connection, and it is not told so.
                while await reader.read(65536):
                    pass
        writer.close()

    async def _take_chunks(self, reader):
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await self._swallow(reader, size)
            await reader.readexactly(2)
        await reader.readexactly(2)

    async def _take(self, reader, head):
        length = re.search(rb"content-length: (\d+)", head.lower())[1]
        await self._swallow(reader, int(length))

    async def _swallow(self, reader, size):
        while size:
            await self.reads.wait()
            piece = await reader.readexactly(min(size, 65536))
            self.size += len(piece)
            size -= len(piece)
