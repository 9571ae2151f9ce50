"""Lets requests begin a few at a time, and turns away those that would wait too long for it.

A process serves its requests in turns: it reads what has come, begins what is to begin, and works
on all of it before it reads again. Whoever comes meanwhile waits for that, even to be turned away,
and so does every stream. So a turn begins only a few requests, and is short. The others wait in
line, in the order in which they came. As long as the process keeps up there is no line. What is
turned away is what would wait longer than is reasonable: the line has room for as many as have
begun, lately, in that time. What waits for a provider takes no time of a turn, and no room.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable

from gateway.errors import Overloaded
from gateway.memory import Memory
from gateway.refusal import dialect_of
from lib.cgroups import memory_group
from lib.ids import uuid7

logger = logging.getLogger(__name__)

#: Requests that begin in one turn, and in one after a turn that took too long.
A_TURN = 8
AFTER_A_LONG_TURN = 1
#: Seconds. Streams, health and the admin have their next piece of work done after that.
LONG_TURN_S = 0.01
#: How long a request may wait until it begins, in seconds.
LONGEST_WAIT_S = 0.03
#: So many may wait, whatever it takes: clients who each wait for their answer before they ask again
#: fill a core, and slow down by themselves.
FEW = 64
#: So many may wait until it is known how fast they begin.
MOST_ROOM = 512
#: How fast they begin is seen from so many at a time.
SAMPLE = 64
#: Seconds between two looks at how late the event loop is.
LOOK_EVERY_S = 0.25
#: One overload is told of in the log once in so many seconds.
TELL_EVERY_S = 60.0
#: Clients that come back at the same time would overload it again.
RETRY_AFTER_S = (1, 2, 3)


def room_for(begun: int, within_s: float) -> int:
    """How many may wait, where so many began within so many seconds while others waited."""
    return max(int(begun * LONGEST_WAIT_S / within_s), FEW)


def retry_after() -> int:
    """Seconds, as random as clients are to come back."""
    return random.choice(RETRY_AFTER_S)


class Load:
    """How busy this process is, and which requests it turns away for that."""

    def __init__(self) -> None:
        self.memory = Memory()
        #: How many may wait.
        self.room = MOST_ROOM
        self.lag_s = 0.0
        self.turned_away = 0
        #: Requests that were let in and whose answer has not ended yet.
        self.open = 0
        #: Of the last requests, how many were turned away: from 0 to 1.
        self.share = 0.0
        self._let_in = 0
        self._waiting: deque[Callable[[], None]] = deque()
        #: Requests that began in this turn.
        self._begun = 0
        self._turn_began = 0.0
        #: Since when, and how many, requests have begun while others waited.
        self._since = 0.0
        self._sampled = 0
        self._told_at = -TELL_EVERY_S
        self._told = 0

    @property
    def waiting(self) -> int:
        """Requests that have not begun."""
        return len(self._waiting)

    def turns_away(self) -> bool:
        """Whether one more request is turned away. If not, it is `open` until `ended` is told."""
        is_late = self.waiting >= self.room
        # A single one never is, lest a process that keeps its memory refuse for ever.
        if is_late or (self.memory.is_short and self.open):
            return True
        self._let_in += 1
        self.open += 1
        return False

    def ended(self, requests: int) -> None:
        """The answers to so many are out, or nobody is there to have them."""
        self.open -= requests

    def begin(self, begin: Callable[[], None]) -> None:
        """Begin a request now if there is time in this turn, else in one of the next."""
        if self._begun >= A_TURN:
            self._waiting.append(begin)
            return
        if not self._begun:
            self._turn_began = time.thread_time()
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._begun += 1
        begin()

    def _next_turn(self) -> None:
        # Where the machine or another thread takes the time, that is no work.
        now = time.thread_time()
        is_long = now - self._turn_began > LONG_TURN_S
        self._turn_began = now
        self._sample(time.monotonic())
        waiting = self._waiting
        begun = min(len(waiting), AFTER_A_LONG_TURN if is_long else A_TURN)
        # None of those who come now may pass by those who wait.
        self._begun = begun if begun == len(waiting) else A_TURN
        self._sampled += begun
        if begun:
            asyncio.get_running_loop().call_soon(self._next_turn)
        for _ in range(begun):
            waiting.popleft()()

    def _sample(self, now: float) -> None:
        """Learn how fast requests begin. Where none wait, that is how fast they come."""
        if not self._waiting:
            self._since, self._sampled = now, 0
        elif self._sampled >= SAMPLE:
            self.room = room_for(self._sampled, now - self._since)
            self._since, self._sampled = now, 0

    async def watch(self) -> None:
        """Look at the event loop and at the memory for as long as the process lives."""
        now = asyncio.get_running_loop().time
        self.memory.group = memory_group()
        while True:
            due, let_in, turned_away = now() + LOOK_EVERY_S, self._let_in, self.turned_away
            await asyncio.sleep(LOOK_EVERY_S)
            self.lag_s = max(now() - due, 0.0)
            refused = self.turned_away - turned_away
            self.share = refused / max(refused + self._let_in - let_in, 1)
            self.memory.look()
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
    after = retry_after()
    error = Overloaded(after)
    body = dialect_of(path).write_error(error, request_id)
    return (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
        b"retry-after: %d\r\nx-request-id: %s\r\ncontent-length: %d\r\n\r\n%s"
    ) % (after, request_id.encode(), len(body), body)
