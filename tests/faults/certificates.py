"""Certificates for servers that an upstream should be, and for such that it should not."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


class Authority:
    """Somebody who vouches for servers. Its own certificate is the file `path`."""

    def __init__(self, directory):
        self.directory = directory
        self.path = directory / "authority.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority of tests")])
        own = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.path.write_bytes(_pem(own.sign(self._key, hashes.SHA256())))

    def server(self, name="server", address="127.0.0.1", *, expired=False):
        """The files of a server's certificate and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        host = x509.IPAddress(ipaddress.ip_address(address))
        certificate = self._builder(subject, key, age_days=30 if expired else 1).add_extension(
            x509.SubjectAlternativeName([host]), critical=False
        )
        files = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        files[0].write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def _builder(self, subject, key, *, age_days=1):
        began = datetime.datetime.now(datetime.UTC) - age_days * _DAY
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(began)
            .not_valid_after(began + 10 * _DAY)
        )


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)
