"""Work with the database beside the event loop, never on a connection that has broken."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` returns, done in some thread."""
    return await sync_to_async(connected, thread_sensitive=False)(work)


def connected(work: Callable[[], T]) -> T:
    """What `work` returns, done in this thread, which is not Django's and may be an old one."""
    close_old_connections()
    try:
        return work()
    finally:
        with contextlib.suppress(Exception):
            close_old_connections()
