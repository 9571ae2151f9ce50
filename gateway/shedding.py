"""Turns requests away that could not be served in time, before anything is done for them.

How busy a process is shows in how late its event loop comes to what is due, because of work of its
own: its lag. (Where the machine gives the process no time, that is no work.) The share of requests
that is turned away follows the lag as in PIE (RFC 8033): it rises while the lag is above `TARGET_S`
or grows, and falls while it is below. Nobody waits for a turn: who is let in is served at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time

from gateway.errors import Overloaded
from gateway.refusal import dialect_of
from lib.ids import uuid7

logger = logging.getLogger(__name__)

#: Seconds between two looks at the lag, and the lag that a full process is held at.
LOOK_EVERY_S = 0.02
TARGET_S = 0.03
#: How fast the share follows: for each second above the target, per second; for each more.
PER_SECOND_ABOVE = 100.0
PER_SECOND_MORE = 5.0
#: How far one look may move it: a pause alone is no overload.
LARGEST_STEP = 0.5
#: With so few requests at once their number is not what makes a process slow.
FEW = 128
#: One overload is told of in the log once in so many seconds.
TELL_EVERY_S = 60.0
#: Clients that come back at the same time would overload it again.
RETRY_AFTER_S = (1, 2, 3)


class Load:
    """How busy this process is, and which requests it turns away for that."""

    def __init__(self) -> None:
        #: Of the requests, how many are turned away: from 0 to 1.
        self.share = 0.0
        self.lag_s = 0.0
        self.turned_away = 0
        self._told_at = -TELL_EVERY_S
        self._told = 0

    def learn(self, lag_s: float) -> None:
        """Take one look at the event loop into account."""
        above = (lag_s - TARGET_S) * (LOOK_EVERY_S + lag_s)
        step = PER_SECOND_ABOVE * above + PER_SECOND_MORE * (lag_s - self.lag_s)
        step = min(max(step, -LARGEST_STEP), LARGEST_STEP)
        self.share = min(max(self.share + step, 0.0), 1.0)
        self.lag_s = lag_s

    def turns_away(self, open_requests: int) -> bool:
        """Whether one more request is turned away, with so many being served."""
        return bool(self.share) and open_requests >= FEW and random.random() < self.share

    async def watch(self) -> None:
        """Look at the event loop for as long as the process lives."""
        now = asyncio.get_running_loop().time
        while True:
            due, worked = now() + LOOK_EVERY_S, time.thread_time()
            await asyncio.sleep(LOOK_EVERY_S)
            self.learn(max(min(now() - due, time.thread_time() - worked), 0.0))
            if self.turned_away != self._told:
                self._tell(now())

    def _tell(self, now: float) -> None:
        if now - self._told_at < TELL_EVERY_S:
            return
        logger.warning(
            "overloaded: %d requests were turned away (503 overloaded); the event loop is %.0f ms "
            "late. Add instances or COURIER_WORKERS",
            self.turned_away - self._told,
            self.lag_s * 1000,
        )
        self._told_at, self._told = now, self.turned_away


load = Load()


def answer_to(path: str) -> bytes:
    """The whole answer to a request that is turned away, as bytes for the connection."""
    request_id = str(uuid7())
    after = random.choice(RETRY_AFTER_S)
    error = Overloaded(after)
    body = dialect_of(path).write_error(error, request_id)
    return (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
        b"retry-after: %d\r\nx-request-id: %s\r\ncontent-length: %d\r\n\r\n%s"
    ) % (after, request_id.encode(), len(body), body)
