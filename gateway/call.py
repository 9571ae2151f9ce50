"""One upstream call of a request, and all that have to know of it."""

from __future__ import annotations

from collections.abc import Callable

from accounts.admission import Reservation
from gateway import errors, key_limits, upstream
from gateway.bill import Bill
from gateway.breaker import breakers
from gateway.flow import traffic
from gateway.keys import keys
from gateway.load import load
from gateway.recovery import is_the_targets
from gateway.throttle import throttle
from registry.snapshot import Target


class Call:
    """An attempt at one target: begun, then answered, failed or given up."""

    def __init__(self, target: Target, bill: Bill, now: Callable[[], float]) -> None:
        self.target = target
        self._bill = bill
        self._now = now
        self._began_at = 0.0
        #: Whether its target is serving the request.
        self.is_in_flight = False
        #: What it holds of its key's own limits and budget.
        self._key_hold: Reservation | None = None
        # First of all: a half-open target's probe is claimed at once or by somebody else.
        self._begun = breakers.begin(target)

    async def begin(self) -> None:
        """Raises what `key_limits.claim` raises; then nobody was called."""
        try:
            self._key_hold = await key_limits.claim(self.target, self._bill)
        except BaseException:
            breakers.gave_up(self.target, self._begun)
            raise
        self._began_at = self._now()
        self.is_in_flight = True
        load.begin(self.target)
        throttle.wanted(self.target)
        keys.begin(self.target)
        upstream.count_for(self._bill.begin(self.target, self._began_at))

    def answered(self, meant_for: Target) -> None:
        """Its first output is there. The request had been meant for that target."""
        breakers.succeeded(self.target, self._begun)
        throttle.accepted(self.target)
        keys.succeeded(self.target)
        traffic.answered(meant_for, self.target)
        load.answered(self.target, self._now() - self._began_at)

    def failed(self, error: errors.UpstreamError) -> None:
        self.leave()
        load.failed(self.target)
        breakers.failed(self.target, error, self._begun)
        if not is_the_targets(error, self.target):
            throttle.accepted(self.target)
        keys.failed(self.target, error)
        traffic.failed(self.target, error.code or "")
        self._bill.fail(self.target, error, self._now())
        self.settle_key()

    def broke_off(self, error: errors.UpstreamError) -> None:
        """It failed behind its first output."""
        breakers.failed(self.target, error, self._begun)
        traffic.failed(self.target, error.code or "")

    def give_up(self) -> None:
        """It was ended from outside: that says nothing of the target."""
        breakers.gave_up(self.target, self._begun)
        throttle.accepted(self.target)

    def leave(self) -> None:
        """The target serves this request no longer."""
        if self.is_in_flight:
            self.is_in_flight = False
            load.end(self.target)

    async def cover_next_step(self) -> bool:
        """Hold more of the key's budget for a stream without a bound; False if it has no more."""
        if self._key_hold is None:
            return True
        return await self._key_hold.extend(self._bill.step_of_key_nano(self.target))

    def settle_key(self) -> None:
        """What the attempt has used of its key is known. Only the first call counts."""
        if self._key_hold is not None:
            key_limits.settle(self._key_hold, self._bill.tries[-1])
