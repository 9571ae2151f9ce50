"""Turns requests away that could not be served in time, before anything is done for them.

How busy a process is shows in how late its event loop comes to what is due: its lag, whatever the
reason. Up to `WARY_S` nobody is turned away; from there the share grows with the lag, to all of
them at `FULL_S`. Of the last looks the best counts (as in CoDel, RFC 8289): a queue that stays
is an overload, a pause is none. Nobody waits for a turn: who is let in is served at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque

from gateway.errors import Overloaded
from gateway.refusal import dialect_of
from lib.ids import uuid7

logger = logging.getLogger(__name__)

#: Seconds between two looks, and how many looks count.
LOOK_EVERY_S = 0.02
LOOKS = 3
#: The lag up to which nobody is turned away, and that at which everybody is, in seconds.
WARY_S = 0.01
FULL_S = 0.06
#: With so few requests at once their number is not what makes a process slow.
FEW = 16
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
        self._looks: deque[float] = deque(maxlen=LOOKS)
        self._told_at = -TELL_EVERY_S
        self._told = 0

    def learn(self, lag_s: float) -> None:
        """Take one look at the event loop into account."""
        self._looks.append(lag_s)
        self.lag_s = min(self._looks)
        self.share = min(max((self.lag_s - WARY_S) / (FULL_S - WARY_S), 0.0), 1.0)

    def turns_away(self, open_requests: int) -> bool:
        """Whether one more request is turned away, with so many being served."""
        return bool(self.share) and open_requests >= FEW and random.random() < self.share

    async def watch(self) -> None:
        """Look at the event loop for as long as the process lives."""
        now = asyncio.get_running_loop().time
        while True:
            due = now() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            self.learn(max(now() - due, 0.0))
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
