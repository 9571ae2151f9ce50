"""What happens to upstream keys beside requests, about once a second and never on their way.

Refusals are written down, so that they last and every instance sees them; people are told; what
keys were told is shared; and what is spent of budgets is looked up before it is used up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from datetime import UTC
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from accounts import admission
from accounts.periods import FOREVER_US
from accounts.rules import BudgetRule, Rules
from accounts.upstream_keys import budget_of
from gateway.keys import REFUSED, Incident, Spent, keys
from lib.database_threads import in_thread
from lib.money import NANO_PER_DOLLAR
from registry import key_health, snapshot
from registry.key_terms import KeyTerms
from registry.models import Revision, UpstreamKey
from usage.alerts import raise_alert
from usage.models import Alert

logger = logging.getLogger(__name__)

EVERY_S = 1.0
#: Percentages of a budget that people are told of, the highest first.
TOLD_OF = (100, 80)
MICROSECONDS = 1_000_000


async def watch() -> None:
    """Keep keys until cancelled."""
    keeper, news = Keeper(), asyncio.Event()
    keys.on_news = news.set
    while True:
        news.clear()
        await keeper.round()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), EVERY_S)


class Keeper:
    """Does the rounds."""

    def __init__(self) -> None:
        self._failing: set[str] = set()
        #: What people were told of budgets: by key and window, the highest percentage.
        self._told: dict[tuple[int, int], int] = {}
        self._revision = -1
        self._budgets: list[tuple[BudgetRule, KeyTerms]] = []

    async def round(self) -> None:
        keys.keep_out()
        for work in (self.share, self.write, self.look_at_budgets):
            try:
                await work()
                self._failing.discard(work.__name__)
            except Exception as error:  # noqa: BLE001  # whatever it is, the next may go better
                self._complain(work.__name__, error)

    def _complain(self, work: str, error: Exception) -> None:
        if work not in self._failing:
            self._failing.add(work)
            logger.warning("upstream keys, %s: %s", work, type(error).__name__)

    async def share(self) -> None:
        """Tell all instances the news, and learn theirs."""
        if not settings.REDIS_URL:
            keys.board.take_news()
            return
        news = keys.board.take_news()
        try:
            told = await asyncio.to_thread(key_health.exchange, news)
        except BaseException:
            keys.board.take_back(news)
            raise
        keys.board.merge(told)

    async def write(self) -> None:
        """Write refusals down, and tell people of each once."""
        for incident in keys.incidents():
            await in_thread(lambda incident=incident: write_down(incident))  # type: ignore[misc]
            keys.written(incident)

    async def look_at_budgets(self) -> None:
        """What is spent of each budget, so that a key is out before it is asked for."""
        budgets = self._all_budgets()
        if not budgets:
            keys.spent.clear()
            return
        rules = [budget for budget, _ in budgets]
        look = await admission.store().look(Rules((), tuple(rules)))
        known = zip(budgets, look.spent, look.windows, strict=True)
        for (budget, terms), spent, window in known:
            if spent < 0:
                keys.spent.pop(budget.id, None)
                continue
            ends_us = budget.bounds_at(look.now_us).window(look.now_us)[1]
            left_s = (ends_us - look.now_us) / MICROSECONDS
            resets_at = key_health.now_s() + left_s if ends_us < FOREVER_US else float("inf")
            keys.spent[budget.id] = Spent(terms, spent, resets_at)
            await self._tell_of_budget(budget, spent, window)

    def _all_budgets(self) -> list[tuple[BudgetRule, KeyTerms]]:
        current = snapshot.current()
        if current.revision != self._revision:
            self._revision = current.revision
            terms = _terms(current)
            made = ((budget_of(key_id, its), its) for key_id, its in terms.items())
            self._budgets = [(budget, its) for budget, its in made if budget]
        return self._budgets

    async def _tell_of_budget(self, budget: BudgetRule, spent: int, window: int) -> None:
        used = spent * 100
        percent = next((each for each in TOLD_OF if used >= each * budget.amount_nano), 0)
        if percent > self._told.get((budget.id, window), 0):
            await in_thread(lambda: tell_of_budget(budget, spent, window, percent))
            self._told[budget.id, window] = percent


def write_down(incident: Incident) -> None:
    """Take a refused key out for good, unless its secret was changed meanwhile. Synchronous."""
    with transaction.atomic():
        row = UpstreamKey.objects.filter(pk=incident.place.key_id or 0).first()
        if row is None or row.changed_at != incident.entered_at:
            return
        at = incident.at
        if incident.reason == REFUSED:
            in_use = UpstreamKey.objects.filter(pk=row.pk, out_since=None)
            if not in_use.update(out_since=at, out_reason=REFUSED):
                return
            # `update` sends no signal: this one change is one revision.
            Revision.bump()
        raise_alert(
            Alert.Kind.KEY_OUT,
            f"{Alert.Kind.KEY_OUT}:{row.pk}:{incident.reason}:{_moment(incident)}",
            _text(row, incident),
            {"provider": incident.provider_name, "key": row.name, "reason": incident.reason},
        )


def _moment(incident: Incident) -> str:
    """A refusal is news each time; a lack of credit once a day."""
    at = incident.at.astimezone(UTC)
    return at.isoformat() if incident.reason == REFUSED else f"{at:%Y-%m-%d}"


def _text(row: UpstreamKey, incident: Incident) -> str:
    name = f"the upstream key {row.name!r} of provider {incident.provider_name!r}"
    if incident.reason == REFUSED:
        return (
            f"The provider refused {name}. The key is not used any more, until its secret is "
            "changed or an administrator puts it back."
        )
    return (
        f"The account behind {name} has no credit left. The key is tried again every hour, and "
        "used as soon as that works."
    )


def tell_of_budget(budget: BudgetRule, spent: int, window: int, percent: int) -> None:
    """Tell once that so much of a key's budget is used. Synchronous."""
    row = UpstreamKey.objects.select_related("provider").filter(pk=budget.id).first()
    if row is None:
        return
    used, amount = (Decimal(nano) / NANO_PER_DOLLAR for nano in (spent, budget.amount_nano))
    ending = " The key is not used until the period ends." if percent == max(TOLD_OF) else ""
    raise_alert(
        Alert.Kind.KEY_BUDGET,
        f"{Alert.Kind.KEY_BUDGET}:{row.pk}:{budget.place}:{window}:{percent}",
        f"The upstream key {row.name!r} of provider {row.provider.name!r} has used {percent} % of "
        f"its budget: ${used:.2f} of ${amount:.2f}.{ending}",
        {"provider": row.provider.name, "key": row.name, "percent": percent},
    )


def _terms(current: snapshot.Snapshot) -> dict[int, KeyTerms]:
    """The terms of all keys in use, by their ids."""
    targets: Iterable[snapshot.Target] = (
        target for model in current.models.values() for target in model.targets
    )
    return {target.key_id: target.terms for target in targets if target.key_id is not None}
