"""Keeps what the store has of budgets equal to the ledger: builds what is unknown, compares.

The ledger, and what is on its way there, is the truth; the store is a cache of it. Errors are
on the safe side: announcements are heard before the ledger is read, so that a request may for
a moment be counted twice, but never not at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from uuid import uuid4

import orjson

from accounts import admission, budgets, upstream_keys
from accounts.allowances import every_budget
from accounts.budgets import counters
from accounts.degraded import HEARD_ALL_S
from accounts.errors import LimitsUnavailable
from accounts.limits import Figures, Look, Mend
from accounts.periods import from_us
from accounts.redis_limits import RedisStore, RollCall
from accounts.rules import BudgetRule, Rules
from lib.database_threads import in_thread
from registry import snapshot
from usage import recorder, spending

logger = logging.getLogger(__name__)


#: A claim is somebody else's: when to look again.
LOOK_AGAIN_S = 0.05
#: A replica that has not announced anything for so long is not waited for.
ANNOUNCED_WITHIN_S = 1.5
#: A Redis that began anew so lately may not have heard of all replicas.
YOUNG_S = 2.5
COMPARE_EVERY_S = 60.0
CHECK_EVERY_S = 1.0
#: Between two looks at budgets that seem to be at rest.
REST_S = 2.0
#: What is in the ledger has reached the store after this long.
SETTLED_WITHIN_S = 0.1
LOCK_S = 90.0
#: An excess that was seen so often in a row is real.
SEEN_OFTEN = 3
AT_A_TIME = 200
QUARTER_US = 900_000_000
MICROSECONDS = 1_000_000

#: Nano-dollars by scope and by quarter of an hour.
Pending = dict[str, dict[int, int]]


class Announced(NamedTuple):
    """What all replicas have settled and not shipped, as far as they could be heard."""

    pending: Pending
    #: Whether all that were alive lately have told.
    is_whole: bool


class Excess(NamedTuple):
    """By how much the store had more than the ledger, at least, and how often in a row."""

    least: int
    times: int


class Seen(NamedTuple):
    """What the store says of one budget that it knows."""

    budget: BudgetRule
    spent: int
    window: int
    look: Look


class Keeper:
    """Builds unknown budgets, all that are asked for meanwhile in one go; compares the others."""

    def __init__(self) -> None:
        self._wanted: dict[str, BudgetRule] = {}
        self._building: asyncio.Task[None] | None = None
        self._token = uuid4().hex
        self._excess: dict[str, Excess] = {}

    async def make_known(self, unknown: Sequence[BudgetRule]) -> None:
        """Build budgets, or wait for those who do. Returns when that was tried."""
        for budget in unknown:
            self._wanted[budget.place] = budget
        while any(budget.place in self._wanted for budget in unknown):
            if self._building is None or self._building.done():
                self._building = asyncio.create_task(self._build())
            # Whoever stops waiting leaves the work to the others.
            await asyncio.shield(self._building)

    async def _build(self) -> None:
        wanted = list(self._wanted.values())
        try:
            await self._claim_and_build(wanted)
        except LimitsUnavailable:
            logger.info("budgets could not be rebuilt: Redis does not answer")
        except Exception as error:  # noqa: BLE001  # whatever it is, they stay closed
            logger.warning("budgets could not be rebuilt: %s", type(error).__name__)
        finally:
            for budget in wanted:
                self._wanted.pop(budget.place, None)

    async def _claim_and_build(self, wanted: Sequence[BudgetRule]) -> None:
        token = uuid4().hex
        now_us, claims = await admission.store().claim(wanted, token)
        ours = [one for one, claim in zip(wanted, claims, strict=True) if claim == 1]
        others = [one for one, claim in zip(wanted, claims, strict=True) if claim > 1]
        if ours:
            figures = await self._figures(ours, now_us)
            built = await admission.store().build(figures, token)
            counters.rebuilds += sum(built)
            logger.info("%d budgets were rebuilt from the ledger", sum(built))
        if others:
            await self._until_built(others)

    async def _until_built(self, others: Sequence[BudgetRule]) -> None:
        async with asyncio.timeout(budgets.REBUILD_WITHIN_S):
            while any(spent < 0 for _, look in await _looks(others) for spent in look.spent):  # noqa: ASYNC110  # another process builds
                await asyncio.sleep(LOOK_AGAIN_S)

    async def _figures(self, asked: Sequence[BudgetRule], since_us: int) -> list[Figures]:
        """What budgets have spent by their windows: the ledger, and what is on its way there."""
        pending = (await announced(since_us)).pending
        from_ledger = await in_thread(lambda: ledger_figures(asked, since_us))
        return [with_pending(figures, pending) for figures in from_ledger]

    async def compare(self) -> None:
        """Correct what differs from the ledger. One process at a time does."""
        store = admission.store()
        if not await store.lock(self._token, LOCK_S):
            return
        known = await _known(await in_thread(_all_budgets))
        if not known:
            return
        since_us = known[0].look.now_us
        await asyncio.sleep(REST_S)
        told_by_all = await announced(since_us)
        rules = [one.budget for one in known]
        figures = await in_thread(lambda: ledger_figures(rules, since_us))
        mends = [
            mend
            for one, told in zip(known, figures, strict=True)
            if (mend := self._mend(one, told, told_by_all)) is not None
        ]
        await asyncio.sleep(SETTLED_WITHIN_S)
        moved = await store.mend(mends, self._token)
        for mend, by in zip(mends, moved, strict=True):
            _tell(mend.budget, by)

    def _mend(self, seen: Seen, ledger: Figures, told: Announced) -> Mend | None:
        """What has to be done about one budget, if anything."""
        former = self._excess.pop(seen.budget.place, Excess(0, 0))
        if seen.window != ledger.window:
            return None
        spent = sum(ledger.spent.values())
        if seen.spent < spent:
            return Mend(seen.budget, seen.window, floor=spent)
        excess = seen.spent - sum(with_pending(ledger, told.pending).spent.values())
        # What a replica that has just died did not ship is not in excess: others will.
        if excess <= 0 or not told.is_whole:
            return None
        return self._cut(seen, excess, former, is_at_rest=not told.pending.get(seen.budget.scope))

    def _cut(self, seen: Seen, excess: int, former: Excess, *, is_at_rest: bool) -> Mend | None:
        """Lower a budget if it is at rest, or if it was too high all the while."""
        budget = seen.budget
        least = min(excess, former.least) if former.times else excess
        if former.times + 1 >= SEEN_OFTEN:
            return Mend(budget, seen.window, cut=least)
        self._excess[budget.place] = Excess(least, former.times + 1)
        # What a dead process has left in its spool is on its way, although nobody tells of it.
        if not is_at_rest or not former.times:
            return None
        # Made only if nothing was spent since the look before the ledger was read.
        return Mend(budget, seen.window, cut=excess, expected=seen.spent)


def _all_budgets() -> list[BudgetRule]:
    return [*every_budget(), *upstream_keys.every_budget()]


async def _known(rules: Sequence[BudgetRule]) -> list[Seen]:
    """What the store says of budgets. Those that it does not know are built on the way."""
    seen: list[Seen] = []
    unknown: list[BudgetRule] = []
    for some, look in await _looks(rules):
        for budget, spent, window in zip(some, look.spent, look.windows, strict=True):
            if spent < 0:
                unknown.append(budget)
            else:
                seen.append(Seen(budget, spent, window, look))
    if unknown:
        await keeper.make_known(unknown)
    return seen


async def _looks(rules: Sequence[BudgetRule]) -> list[tuple[Sequence[BudgetRule], Look]]:
    batches = [rules[at : at + AT_A_TIME] for at in range(0, len(rules), AT_A_TIME)]
    return [(some, await admission.store().look(Rules((), tuple(some)))) for some in batches]


def _tell(budget: BudgetRule, moved: int) -> None:
    if not moved:
        return
    counters.raised += moved > 0
    counters.lowered += moved < 0
    counters.last_drift_nano = moved
    if abs(moved) * 100 > budget.amount_nano:
        counters.drifts += 1
        logger.warning(
            "the budget %d of %s differed from the ledger by %d nano-dollars, and was corrected",
            budget.id,
            budget.scope,
            -moved,
        )


async def announced(since_us: int) -> Announced:
    """What all replicas that are alive have settled and not shipped, told after a moment."""
    store = admission.store()
    if not isinstance(store, RedisStore):
        return Announced(pending_in([orjson.dumps(recorder.pending().sums())]), is_whole=True)
    await admission.announce(store)
    while True:
        call = await store.roll_call()
        is_patient = call.now_us < since_us + ANNOUNCED_WITHIN_S * MICROSECONDS
        is_whole = all(at >= since_us for at, _ in call.told)
        if (is_whole or not is_patient) and not _is_young(call):
            return Announced(pending_in([told for _, told in call.told]), is_whole)
        await asyncio.sleep(LOOK_AGAIN_S)


def _is_young(call: RollCall) -> bool:
    """Whether this Redis, which began anew, may not have heard of all replicas.

    One that stood still as Redis came back is waited for as long as it would have counted as alive.
    """
    lacks_some = len(call.told) < admission.replicas()
    return call.age_s < (HEARD_ALL_S if lacks_some else YOUNG_S)


def pending_in(told: Iterable[bytes]) -> Pending:
    """From entries such as "team:3@1988888"."""
    pending: Pending = {}
    for content in told:
        for entry, nano in orjson.loads(content or b"{}").items():
            scope, _, quarter = entry.partition("@")
            quarters = pending.setdefault(scope, {})
            quarters[int(quarter)] = quarters.get(int(quarter), 0) + nano
    return pending


def with_pending(figures: Figures, pending: Pending) -> Figures:
    """The same with what is on its way to the ledger."""
    budget = figures.budget
    spent = dict(figures.spent)
    for quarter, nano in pending.get(budget.scope, {}).items():
        at_us = quarter * QUARTER_US
        counts = at_us + QUARTER_US > budget.counts_from_us
        window = budget.window_at(at_us)
        if counts and window in spent:
            spent[window] += nano
    return figures._replace(spent=spent)


def ledger_figures(asked: Sequence[BudgetRule], now_us: int) -> list[Figures]:
    """What the ledger says of budgets, those of one span together. Synchronous."""
    figures: dict[str, Figures] = {}
    for some in _alike(asked, now_us):
        for one in _rolling(some, now_us) if some[0].ring.slot_us else _calendar(some, now_us):
            figures[one.budget.place] = one
    return [figures[budget.place] for budget in asked]


def _alike(asked: Iterable[BudgetRule], now_us: int) -> Iterator[list[BudgetRule]]:
    """Budgets that count in the same windows."""
    groups: dict[object, list[BudgetRule]] = {}
    for budget in asked:
        window = budget.window_at(now_us)
        kind = budget.ring, budget.counts_from_us, window, budget.span_of(window)
        groups.setdefault(kind, []).append(budget)
    yield from groups.values()


def _calendar(alike: Sequence[BudgetRule], now_us: int) -> Iterator[Figures]:
    window = alike[0].window_at(now_us)
    scopes = sorted({budget.scope for budget in alike})
    spent = spending.spent_by_all(scopes, *alike[0].span_of(window))
    for budget in alike:
        yield Figures(budget, window, {window: spent[budget.scope]})


def _rolling(alike: Sequence[BudgetRule], now_us: int) -> Iterator[Figures]:
    """By slots. The one in which counting began is told apart, for it is not whole."""
    ring, since_us = alike[0].ring, alike[0].counts_from_us
    newest = now_us // ring.slot_us
    oldest = newest - ring.slots
    first = max(oldest, -(-since_us // ring.slot_us))
    scopes = sorted({budget.scope for budget in alike})
    whole: dict[str, list[int]] = {scope: [] for scope in scopes}
    if first <= newest:
        begin, end = from_us(first * ring.slot_us), from_us((newest + 1) * ring.slot_us)
        whole = spending.spent_by_slot(scopes, begin, end, ring.slot_us // MICROSECONDS)
    part: dict[str, int] = {}
    if first > oldest:
        part = spending.spent_by_all(scopes, from_us(since_us), from_us(first * ring.slot_us))
    for budget in alike:
        spent = dict.fromkeys(range(oldest, newest + 1), 0)
        spent |= {first + n: nano for n, nano in enumerate(whole[budget.scope])}
        if part and first - 1 in spent:
            spent[first - 1] += part[budget.scope]
        yield Figures(budget, newest, spent)


keeper = Keeper()


def start() -> None:
    """Let admission build unknown budgets, and every sign of life tell what is pending."""
    global keeper  # noqa: PLW0603  # of this event loop
    keeper = Keeper()
    budgets.rebuild_with(keeper.make_known)
    admission.tell_with(lambda: recorder.pending().told())


async def watch() -> None:
    """Compare every minute, and as soon as the configuration has changed. Until cancelled."""
    while True:
        await _a_minute_or_a_change()
        try:
            await keeper.compare()
        except LimitsUnavailable:
            logger.info("budgets were not compared: Redis does not answer")
        except Exception as error:  # noqa: BLE001  # whatever it is, the next may go better
            logger.warning("budgets were not compared: %s", type(error).__name__)


async def _a_minute_or_a_change() -> None:
    loop, revision = asyncio.get_running_loop(), snapshot.current().revision
    deadline = loop.time() + COMPARE_EVERY_S
    while loop.time() < deadline and snapshot.current().revision == revision:  # noqa: ASYNC110  # a thread loads it
        await asyncio.sleep(CHECK_EVERY_S)
