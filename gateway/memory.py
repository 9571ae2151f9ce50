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

    def look(self) -> None:
        """See what is in use. What was promised two looks ago is in use by now, or was."""
        if self.group is None:
            return
        used = self.group.used()
        self.share = used / self.group.limit
        self._left = self.group.limit * FULL - used
        self._promised, self._promised_before = 0, self._promised
        if self.is_short != (self._left < 0):
            self.is_short = self._left < 0
            self._tell()

    def has_room_for(self, size: int) -> bool:
        """Promise what a request with a body of so many bytes needs, if there is as much.

        One at a time there always is: otherwise what a small limit never has room for would be
        told for ever to come back later.
        """
        needed, promised = size * TIMES_BODY, self._promised + self._promised_before
        if promised and self._left < needed + promised:
            return False
        self._promised += needed
        return True

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
