"""Secrets encrypted at rest, with a ring of keys for rotation: the first seals, all open."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

#: Keys derived for one purpose open nothing that was sealed for another.
PURPOSE = b"courier upstream key v1"


class CannotDecrypt(ValueError):
    """No key of the ring opens this value."""


def encrypt(text: str) -> str:
    """Seal `text` with the first key of the ring."""
    return _ring(tuple(settings.COURIER_ENCRYPTION_KEYS)).encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """Open `token` with whichever key of the ring fits. Raises CannotDecrypt if none does."""
    try:
        return _ring(tuple(settings.COURIER_ENCRYPTION_KEYS)).decrypt(token.encode()).decode()
    except InvalidToken:
        raise CannotDecrypt("None of the configured encryption keys opens this value.") from None


def fingerprint(key: str) -> str:
    """Eight characters that tell one encryption key from another without revealing it."""
    return hashlib.sha256(_derived(key)).hexdigest()[:8]


@lru_cache(maxsize=8)
def _ring(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(_derived(key)) for key in keys])


def _derived(key: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(key.encode())
    return base64.urlsafe_b64encode(derived)
