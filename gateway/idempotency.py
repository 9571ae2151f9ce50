"""The Idempotency-Key: a request that is sent again is answered again, and charged once.

Statuses follow draft-ietf-httpapi-idempotency-key-header-07: 400 for a key that cannot be one,
422 for the same key with another request, 409 where the outcome cannot be told (yet).
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from uuid import uuid4

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from gateway import idempotency_errors
from gateway.claims import KEPT_S, RENEW_EVERY_S, Claims, LocalClaims, RedisClaims, State
from gateway.reply import Reply
from gateway.tape import Answers, Tape
from lib import encryption
from lib.encryption import CannotDecrypt, Purpose

HEADER = b"idempotency-key"
#: How COURIER_IDEMPOTENCY says what is kept of answers that are over.
OFF, DIGEST, MEMORY, SHARED = MODES = ("off", "digest", "memory", "shared")
#: A string of RFC 8941, or the same without its quotes, as most clients send it.
_KEY = re.compile(rb'"([\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x7e][\x21-\x7e]{0,254})')
PURPOSE = b"courier idempotency key v1"
#: A sealed answer that is larger is not kept in Redis, in characters.
MOST_SEALED = 1024 * 1024
#: Sealing more than this takes a thread, in bytes.
MUCH = 256 * 1024
#: How long a repeat waits for another instance, in seconds; below what balancers allow.
JOIN_S = 45.0
FIRST_LOOK_S = 0.05
LONGEST_LOOK_S = 0.5
#: Answers that go on although their client has left, at most.
MOST_DETACHED = 64


class Asked:
    """One request with an idempotency key. Of its words only keyed hashes are used."""

    def __init__(self, key_id: int, key: bytes, path: str, query: bytes, body: bytes) -> None:
        self.name = _hash(str(key_id).encode(), path.encode(errors="surrogatepass"), key)
        self.digest = _hash(query, body)


class First:
    """The first request with its key, while it is being answered."""

    def __init__(self, asked: Asked, token: str, tape: Tape) -> None:
        self.name = asked.name
        self.digest = asked.digest
        self.token = token
        self.tape = tape


class Repeats:
    """All that this process knows of idempotency keys. Of one event loop."""

    def __init__(self) -> None:
        self._answers = Answers()
        self._running: dict[str, First] = {}
        self._claims: Claims | None = None

    async def join(self, asked: Asked) -> First | Tape:
        """The request's own turn to be answered, or the answer that another has been given.

        Raises IdempotencyConflict, IdempotencyInProgress, OutcomeNotKept, OutcomeUnknown or
        IdempotencyUnavailable.
        """
        token, pause = uuid4().hex, FIRST_LOOK_S
        until = asyncio.get_running_loop().time() + (JOIN_S if _is_shared() else 0)
        while True:
            running = self._running.get(asked.name)
            if running is not None:
                return _same(running, asked).tape
            found = await self._looked_up(asked, token)
            if found is not None:
                return found
            if asked.name in self._running:
                continue
            if asyncio.get_running_loop().time() > until:
                raise idempotency_errors.IdempotencyInProgress
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_LOOK_S)

    async def _looked_up(self, asked: Asked, token: str) -> First | Tape | None:
        """None while another instance is at it."""
        verdict = await self._store().claim(asked.name, asked.digest, token)
        match verdict.state:
            case State.NEW:
                first = First(asked, token, Tape(self._answers))
                self._running[asked.name] = first
                return first
            case State.OTHER:
                raise idempotency_errors.IdempotencyConflict
            case State.LOST:
                raise idempotency_errors.OutcomeUnknown
            case State.DONE:
                return self._kept(asked, verdict.answer)
            case _:
                return None

    @asynccontextmanager
    async def recording(self, first: First, reply: Reply) -> AsyncIterator[None]:
        """While it is being answered: record what is sent, and remember what came of it."""
        reply.record_on(first.tape)
        renewing = asyncio.ensure_future(self._renew(first))
        try:
            yield
        finally:
            renewing.cancel()
            first.tape.end()
            await self._remember(first, was_charged=reply.was_charged)

    def may_go_on(self) -> bool:
        """Whether one more answer may go on for nobody, until it is asked for again."""
        detached = sum(first.tape.is_detached for first in self._running.values())
        return settings.COURIER_IDEMPOTENCY != DIGEST and detached < MOST_DETACHED

    async def close(self) -> None:
        if self._claims is not None:
            await self._claims.close()

    async def _remember(self, first: First, *, was_charged: bool) -> None:
        try:
            if was_charged:
                answer = await self._put_away(first)
                self._store().keep(first.name, first.digest, first.token, answer)
            else:
                first.tape.discard()
                self._store().release(first.name, first.token)
        finally:
            del self._running[first.name]

    async def _put_away(self, first: First) -> str:
        """Keep the answer where it may be kept. Returns what is for Redis, if anything."""
        tape, mode = first.tape, settings.COURIER_IDEMPOTENCY
        if mode == DIGEST or not tape.is_whole:
            tape.discard()
            return ""
        if not _is_shared():
            self._answers.keep(first.name, tape, asyncio.get_running_loop().time(), KEPT_S)
            return ""
        try:
            sealing = asyncio.to_thread(_sealed, tape) if tape.size > MUCH else None
            sealed = await sealing if sealing else _sealed(tape)
        finally:
            tape.discard()
        return sealed if len(sealed) <= MOST_SEALED else ""

    def _kept(self, asked: Asked, sealed: str) -> Tape:
        tape = self._answers.get(asked.name, asyncio.get_running_loop().time())
        if sealed:
            tape = _opened(sealed, self._answers)
        if tape is None:
            raise idempotency_errors.OutcomeNotKept
        return tape

    async def _renew(self, first: First) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            self._store().renew(first.name, first.digest, first.token)

    def _store(self) -> Claims:
        if self._claims is None:
            url = settings.REDIS_URL
            self._claims = RedisClaims(url) if url else LocalClaims()
        return self._claims


def key_of(value: bytes) -> bytes:
    """What the header says. Raises InvalidIdempotencyKey."""
    found = _KEY.fullmatch(value.strip())
    if found is None:
        raise idempotency_errors.InvalidIdempotencyKey
    return found[1] or found[2]


def _same(running: First, asked: Asked) -> First:
    if running.digest != asked.digest:
        raise idempotency_errors.IdempotencyConflict
    return running


def _is_shared() -> bool:
    return settings.COURIER_IDEMPOTENCY == SHARED and bool(settings.REDIS_URL)


def _sealed(tape: Tape) -> str:
    return encryption.encrypt_bytes(tape.to_bytes(), Purpose.IDEMPOTENT_ANSWER)


def _opened(sealed: str, room: Answers) -> Tape | None:
    try:
        return Tape.from_bytes(encryption.decrypt_bytes(sealed, Purpose.IDEMPOTENT_ANSWER), room)
    except CannotDecrypt:
        return None


def _hash(*parts: bytes) -> str:
    pepper = _pepper(settings.COURIER_KEY_PEPPER)
    lengths = b",".join(str(len(part)).encode() for part in parts)
    return hmac.digest(pepper, b"\0".join([lengths, *parts]), "sha256").hex()


@lru_cache(maxsize=8)
def _pepper(configured: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE)
    return derived.derive(configured.encode())
