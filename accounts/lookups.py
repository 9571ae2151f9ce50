"""Looking up keys that are not in memory: many in one query, and few queries per second.

Whoever sends made-up keys by the thousand so costs the database no more than a busy morning,
and a key that is somebody's is found among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from accounts.errors import IdentityUnavailable

T = TypeVar("T")

#: Threads for look-ups of their own: a frozen database must not take those of others.
THREADS = 4
LONGEST_S = 2
#: Seconds from one query to the next, once the first few were made at once.
EVERY_S = 0.1
AT_ONCE = 10
MOST_WAITING = 400

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="courier-identity")


class Lookups(Generic[T]):
    """Those that wait and those that are under way, each by what it looks for."""

    def __init__(self, read: Callable[[list[str]], dict[str, T | None]]) -> None:
        self._read = read
        self._loop: asyncio.AbstractEventLoop | None = None
        self._found: dict[tuple[int, str], asyncio.Future[T | None]] = {}
        self._unsent: list[tuple[int, str]] = []
        self._paid_until = 0.0
        self._reading: set[asyncio.Task[None]] = set()

    async def find(self, generation: int, digest: str) -> T | None:
        """What is found for `digest`. All who ask in one generation share one look-up.

        Raises IdentityUnavailable if too many wait. It survives the caller that began it.
        """
        asked = generation, digest
        self._begin_in(asyncio.get_running_loop())
        if asked not in self._found:
            if len(self._found) >= MOST_WAITING:
                raise IdentityUnavailable
            self._ask(asked)
        return await asyncio.shield(self._found[asked])

    def are_finding(self, generation: int, digest: str) -> bool:
        """Whether it is being looked up already: who asks now costs nothing more."""
        return (generation, digest) in self._found

    def _begin_in(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            self._loop, self._found, self._unsent, self._paid_until = loop, {}, [], 0.0

    def _ask(self, asked: tuple[int, str]) -> None:
        loop = asyncio.get_running_loop()
        self._found[asked] = loop.create_future()
        self._unsent.append(asked)
        if len(self._unsent) > 1:
            return
        # The rate is kept as in GCRA: by the moment until which queries have been paid for.
        at = max(loop.time(), self._paid_until - AT_ONCE * EVERY_S)
        self._paid_until = max(self._paid_until, at) + EVERY_S
        loop.call_at(at, self._send)

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        reading = asyncio.ensure_future(self._answer(unsent))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)

    async def _answer(self, asked: list[tuple[int, str]]) -> None:
        futures = [(digest, self._found[generation, digest]) for generation, digest in asked]
        try:
            found = await self._read_together([digest for _, digest in asked])
            for digest, future in futures:
                future.set_result(found.get(digest))
        except BaseException as error:  # noqa: BLE001  # whoever waits is told, whatever it is
            told = error if isinstance(error, Exception) else IdentityUnavailable()
            for _, future in futures:
                future.set_exception(told)
                future.exception()  # Seen, even if every caller has left.
        finally:
            for each in asked:
                self._found.pop(each, None)

    async def _read_together(self, digests: list[str]) -> dict[str, T | None]:
        async with asyncio.timeout(LONGEST_S):
            # At the limit the thread is left to itself: psycopg may take seconds to give up.
            return await asyncio.get_running_loop().run_in_executor(
                _threads, self._read, list(dict.fromkeys(digests))
            )
