"""Secrets encrypted at rest, with a ring of keys for rotation: the first seals, all open."""

from __future__ import annotations

import base64
import hashlib
from enum import Enum
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class Purpose(Enum):
    """What a secret is for. Keys derived for one purpose open nothing sealed for another."""

    UPSTREAM_KEY = b"courier upstream key v1"
    WEBHOOK_SECRET = b"courier webhook secret v1"
    IDEMPOTENT_ANSWER = b"courier idempotent answer v1"


class CannotDecrypt(ValueError):
    """No key of the ring opens this value."""


def encrypt(text: str, purpose: Purpose) -> str:
    """Seal `text` with the first key of the ring."""
    return encrypt_bytes(text.encode(), purpose)


def encrypt_bytes(content: bytes, purpose: Purpose) -> str:
    """Seal bytes likewise. The token is text, a third longer than what it holds."""
    return _ring(tuple(settings.COURIER_ENCRYPTION_KEYS), purpose).encrypt(content).decode()


def decrypt(token: str, purpose: Purpose) -> str:
    """Open `token` with whichever key of the ring fits. Raises CannotDecrypt if none does."""
    return decrypt_bytes(token, purpose).decode()


def decrypt_bytes(token: str, purpose: Purpose) -> bytes:
    """Open what `encrypt_bytes` sealed. Raises CannotDecrypt."""
    ring = _ring(tuple(settings.COURIER_ENCRYPTION_KEYS), purpose)
    try:
        return ring.decrypt(token.encode())
    except InvalidToken:
        raise CannotDecrypt("None of the configured encryption keys opens this value.") from None


def fingerprint(key: str) -> str:
    """Eight characters that tell one encryption key from another without revealing it."""
    return hashlib.sha256(_derived(key, Purpose.UPSTREAM_KEY)).hexdigest()[:8]


@lru_cache(maxsize=16)
def _ring(keys: tuple[str, ...], purpose: Purpose) -> MultiFernet:
    return MultiFernet([Fernet(_derived(key, purpose)) for key in keys])


def _derived(key: str, purpose: Purpose) -> bytes:
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.value)
    return base64.urlsafe_b64encode(derivation.derive(key.encode()))
