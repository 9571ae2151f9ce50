"""Turns requests away that could not be served in time, before anything is done for them.

A process serves its requests in turns: of those whose bytes have come it begins some, and comes
back when it has worked on all. Whoever asks meanwhile waits for that, even to be turned away. So
there is room for only so many new requests in each turn, and the room follows how long a turn
takes: as in a window that is held by its delay, it shrinks by as much as the last turn was too
long, and grows while turns are short. What waits for a provider takes no time of a turn, and no
room. Nobody waits for a place: who is let in is served at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time

from gateway.errors import Overloaded
from gateway.memory import Memory
from gateway.refusal import dialect_of
from lib.cgroups import memory_group
from lib.ids import uuid7

logger = logging.getLogger(__name__)

#: Seconds of work that a turn may take. Half of what a refusal may, for who comes at its
#: beginning waits for all of it.
TURN_S = 0.025
#: New requests that one turn begins, if those before it were short: clients may all ask at once.
MOST_ROOM = 512.0
#: How fast the room follows: one long turn alone is no overload.
LEAST_LEFT = 0.5
MOST_MORE = 1.25
#: A request that waits for nothing is served while the loop passes about so many times.
PASSES = 8
#: With fewer new requests in a turn it need not be looked at.
MANY = 8
#: With so few requests at once nobody is turned away: clients who each wait for their answer before
#: they ask again fill a core, and slow down by themselves.
FEW = 64
#: Seconds between two looks at how late the event loop is.
LOOK_EVERY_S = 0.25
#: One overload is told of in the log once in so many seconds.
TELL_EVERY_S = 60.0
#: Clients that come back at the same time would overload it again.
RETRY_AFTER_S = (1, 2, 3)


def room_after(room: float, begun: int, worked_s: float) -> float:
    """The room of the next turn, after one that began so many requests and took so long."""
    if worked_s <= TURN_S:
        return min(room * min(TURN_S / max(worked_s, 1e-6), MOST_MORE), MOST_ROOM)
    return max(begun * TURN_S / worked_s, room * LEAST_LEFT, 1.0)


def retry_after() -> int:
    """Seconds, as random as clients are to come back."""
    return random.choice(RETRY_AFTER_S)


class Load:
    """How busy this process is, and which requests it turns away for that."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.room = MOST_ROOM
        self.lag_s = 0.0
        self.turned_away = 0
        #: Requests that were let in and whose answer has not ended yet.
        self.open = 0
        #: Of the last requests, how many were turned away: from 0 to 1.
        self.share = 0.0
        self._let_in = 0
        #: How many had been let in when this turn began.
        self._let_in_before = 0
        self._is_in_turn = False
        self._told_at = -TELL_EVERY_S
        self._told = 0

    def turns_away(self) -> bool:
        """Whether one more request is turned away. If not, it is `open` until `ended` is told."""
        if not self._is_in_turn:
            self._begin_turn()
        is_late = self._let_in - self._let_in_before >= self.room and self.open >= FEW
        # A single one never is, lest a process that keeps its memory refuse for ever.
        if is_late or (self.memory.is_short and self.open):
            return True
        self._let_in += 1
        self.open += 1
        return False

    def ended(self, requests: int) -> None:
        """The answers to so many are out, or nobody is there to have them."""
        self.open -= requests

    def _begin_turn(self) -> None:
        self._is_in_turn, self._let_in_before = True, self._let_in
        self._pass_on(PASSES, time.thread_time())

    def _pass_on(self, passes: int, began: float) -> None:
        """Let the loop pass so many times more, unless nothing much was begun."""
        begun = self._let_in - self._let_in_before
        if passes == PASSES or (passes and begun >= MANY):
            asyncio.get_running_loop().call_soon(self._pass_on, passes - 1, began)
            return
        # Where the machine gives the process no time, that is no work.
        self.room = room_after(self.room, begun, time.thread_time() - began)
        self._is_in_turn = False

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
