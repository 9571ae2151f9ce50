"""Whether there is memory for one more request, where a control group limits it.

The kernel ends a process that wants more than its group may have, with all that it serves. So new
work is refused before, by what is used and by what the requests that just came will use.
"""

from __future__ import annotations

import logging
import math
from typing import Protocol

logger = logging.getLogger(__name__)

#: Of the limit, what may be in use before new work is refused.
FULL = 0.85
#: How many times the bytes of its body a request takes: as it came, read, and written for the
#: provider, each for a moment together with the next.
TIMES_BODY = 6
#: So many looks later what was promised is in use.
LOOKS_AHEAD = 2


class Group(Protocol):
    """What has a limit of memory."""

    @property
    def limit(self) -> int:
        """Bytes that there are."""

    def used(self) -> int:
        """Bytes that are in use."""


class Memory:
    """What is left of it, as of the last look and by what has been promised since."""

    def __init__(self) -> None:
        self.group: Group | None = None
        #: Of the limit, how much is in use; 0 without one.
        self.share = 0.0
        self.is_short = False
        self._left = math.inf
        #: Bytes that requests will use that came since the last look, and before.
        self._promised = 0
        self._promised_before = 0
        #: And those that bodies will use which are still coming.
        self.coming = 0
        self.looks = 0

    def look(self) -> None:
        """See what is in use. What was promised two looks ago is in use by now, or was."""
        if self.group is None:
            return
        self.looks += 1
        used = self.group.used()
        self.share = used / self.group.limit
        self._left = self.group.limit * FULL - used
        self._promised, self._promised_before = 0, self._promised
        if self.is_short != (self._left < 0):
            self.is_short = self._left < 0
            self._tell()

    def has_room_for(self, size: int, own: int = 0) -> bool:
        """Whether there is as much as a body grown by so many bytes needs, beside its `own`.

        One at a time there always is: otherwise what a small limit never has room for would be
        told for ever to come back later.
        """
        promised = self._promised + self._promised_before + self.coming
        return promised == own or self._left >= promised + size * TIMES_BODY

    def promise(self, needed: int) -> None:
        """Keep so many bytes until they are in use."""
        self._promised += needed

    def _tell(self) -> None:
        if self.is_short:
            logger.warning(
                "short of memory: %.0f %% of the limit is in use, and new requests are turned away "
                "(503 overloaded) while it is above %.0f %%. Raise the limit, or lower "
                "COURIER_WORKERS or COURIER_MAX_BODY",
                100 * self.share,
                100 * FULL,
            )
        else:
            logger.info("memory is no longer short: %.0f %% of the limit", 100 * self.share)


class Body:
    """What one request's body takes of memory, while it comes and for a moment after.

    What it says of its length is promised ahead, but not for long: who sends nothing keeps
    nobody else out. From then on, or where it says nothing, what has come of it counts.
    """

    __slots__ = ("_ahead_until", "_came", "_memory")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._came = 0
        self._ahead_until = 0

    def may_come(self, declared: int) -> bool:
        """Whether there is room for so many bytes. They are promised, until they are in use."""
        memory = self._memory
        if not memory.has_room_for(declared):
            return False
        memory.promise(declared * TIMES_BODY)
        self._ahead_until = memory.looks + LOOKS_AHEAD
        return True

    def may_go_on(self, came: int) -> bool:
        """Whether there is room for what has come by now."""
        memory = self._memory
        if memory.looks < self._ahead_until:
            return True
        if not memory.has_room_for(came - self._came, own=self._came * TIMES_BODY):
            return False
        memory.coming += (came - self._came) * TIMES_BODY
        self._came = came
        return True

    def end(self) -> None:
        """It is here, and about to be used; or nothing more of it comes."""
        self._memory.coming -= self._came * TIMES_BODY
        self._memory.promise(self._came * TIMES_BODY)
