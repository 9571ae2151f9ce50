"""How many keys that are none an address may try. Keys that were issued never come here.

Only look-ups count, and only those that find nothing: a client with one wrong key, however often
it asks, is told that it is wrong.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from accounts.errors import InvalidApiKey
from gateway.errors import TooManyUnknownKeys

logger = logging.getLogger(__name__)

#: Different keys that an address may try at once, and the seconds after which it may try one more.
TRIES = 60
EVERY_S = 1.0
#: Addresses that are remembered. Queries have a bound of their own, whoever asks.
MOST_ADDRESSES = 8_000
TELL_EVERY_S = 60.0


class Strangers:
    """What addresses have tried lately: the moment until which each has used up its tries."""

    def __init__(self) -> None:
        self._used_until: OrderedDict[str, float] = OrderedDict()
        self.refused = 0
        self._told_at = -TELL_EVERY_S

    @contextmanager
    def trying(self, address: str) -> Iterator[None]:
        """Try one key. Raises TooManyUnknownKeys; a key that is somebody's costs no try."""
        now = time.monotonic()
        wait_s = self._used_until.get(address, now) - now - (TRIES - 1) * EVERY_S
        if wait_s > 0:
            self._refuse(address, now)
            raise TooManyUnknownKeys(wait_s)
        try:
            yield
        except InvalidApiKey:
            self._count(address)
            raise

    def _count(self, address: str) -> None:
        now = time.monotonic()
        used_until = max(self._used_until.get(address, now), now) + EVERY_S
        # What was tried at the same time as the last try is not held against it for longer.
        self._used_until[address] = min(used_until, now + TRIES * EVERY_S)
        self._used_until.move_to_end(address)
        if len(self._used_until) > MOST_ADDRESSES:
            self._used_until.popitem(last=False)

    def _refuse(self, address: str, now: float) -> None:
        self.refused += 1
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            logger.warning(
                "%s tries many API keys that are none; %d such requests were refused so far",
                address,
                self.refused,
            )


strangers = Strangers()
