"""Reading the ledger for a client: off the event loop, in few threads, and not for long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from gateway.errors import LedgerUnavailable
from lib.database_threads import connected
from usage.pieces import NoReport

logger = logging.getLogger(__name__)

LONGEST_S = 5.0
#: A frozen database must take none of the threads that others need, nor all memory.
THREADS = 2
MOST_WAITING = 20

T = TypeVar("T")

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ledger")
_waiting: set[asyncio.Future[Any]] = set()


async def read(work: Callable[[], T]) -> T:
    """What `work` returns, which may ask the database. Raises LedgerUnavailable, or NoReport."""
    if len(_waiting) >= MOST_WAITING:
        raise LedgerUnavailable
    reading = asyncio.get_running_loop().run_in_executor(_threads, connected, work)
    _waiting.add(reading)
    reading.add_done_callback(_forget)
    try:
        async with asyncio.timeout(LONGEST_S):
            # At the limit the thread is left to itself: it cannot be stopped, but it ends.
            return await asyncio.shield(reading)
    except (NoReport, asyncio.CancelledError):
        raise
    except Exception as error:  # noqa: BLE001  # whatever the database or its driver says
        logger.warning("the ledger could not be read: %s", type(error).__name__)
        raise LedgerUnavailable from None


def _forget(reading: asyncio.Future[Any]) -> None:
    _waiting.discard(reading)
    if not reading.cancelled():
        reading.exception()  # Seen, even if the caller has left.
