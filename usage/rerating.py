"""Prices a past period anew. What it would change is shown first, and written once approved.

Records are never changed: a correction is an adjustment row. It is the difference to what the
request costs in sum, earlier corrections included, so that a second run finds nothing.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, Sum
from django.utils import timezone

from accounts.models import Team
from lib.tokens import TokenUsage
from registry import models as registry
from registry.pricing import Price, charged_nano, in_force, price_of
from usage import ledger
from usage.models import RerateRun, UsageAdjustment, UsageRecord
from usage.models.records import UsageRecordQuerySet

BATCH = 1000
#: Any number, as long as nothing else in the database locks it.
LOCK = 7_232_417
#: A run whose worker has shown no sign of life for so long is taken up by another.
FORSAKEN_AFTER_S = 60
CHANGED = "Prices or markups have changed since it was calculated. Calculate it anew."
CLASSES = tuple(each.name for each in fields(TokenUsage))
#: What earlier adjustments may have corrected.
CORRECTED = (
    *("input_tokens", "cached_input_tokens", "cache_write_tokens"),
    *("output_tokens", "reasoning_tokens", "images"),
    *("cost_nano", "provider_cost_nano", "unpriced"),
)
#: What a correction takes over from its record.
COPIED = (
    *("request_id", "started_at", "key_id", "key_name", "team_id", "team_name"),
    *("user_id", "user_name", "provider_name", "tags"),
)


@dataclass(frozen=True, slots=True)
class Scope:
    """The requests that are priced anew. Days are in UTC, and the last is one of them."""

    first_day: date
    last_day: date
    model: str = ""
    team_id: int | None = None

    def after(self, position: UUID | None) -> UsageRecordQuerySet:
        records = UsageRecord.objects.using(ledger.database())
        records = records.from_day(self.first_day).until_day(self.last_day)
        if self.model:
            records = records.filter(model_served=self.model)
        if self.team_id is not None:
            records = records.filter(team_id=self.team_id)
        if position is not None:
            records = records.filter(request_id__gt=position)
        return records.order_by("request_id")

    def batches(self, position: UUID | None = None) -> Iterator[list[UsageRecord]]:
        """So many at a time, in fixed memory. Ids sort by time, and are read by the key."""
        while batch := list(self.after(position)[:BATCH]):
            yield batch
            position = batch[-1].request_id


@dataclass(slots=True)
class TeamTotal:
    """What a team was charged for the period, and what it would be."""

    team: str
    requests: int = 0
    changed: int = 0
    #: Requests that stay as they are because nobody knows what they cost.
    unknown: int = 0
    old_nano: int = 0
    new_nano: int = 0

    @property
    def difference_nano(self) -> int:
        return self.new_nano - self.old_nano

    def add(self, rating: Rating) -> None:
        self.requests += 1
        self.changed += rating.differs
        self.unknown += rating.price is None
        self.old_nano += rating.old_nano
        self.new_nano += rating.new_nano


@dataclass(frozen=True, slots=True)
class Rating:
    """One request: what it costs in sum, and what it would by the prices of now."""

    record: UsageRecord
    #: None: unknown, and nothing is changed.
    price: Price | None
    old_nano: int
    new_nano: int
    old_provider_nano: int
    new_provider_nano: int
    was_unpriced: bool

    @property
    def differs(self) -> bool:
        return self.price is not None and (
            self.was_unpriced
            or self.new_nano != self.old_nano
            or self.new_provider_nano != self.old_provider_nano
        )


class Tariff:
    """The prices and markups of now, for requests of any time."""

    def __init__(self) -> None:
        self._of_models: dict[str, list[Price]] = defaultdict(list)
        self._of_routes: dict[tuple[str, str, str], list[Price]] = defaultdict(list)
        rows = registry.Price.objects.standing().select_related("model", "route__provider")
        for row in rows.order_by("starts_at"):
            if row.route:
                route = (row.model.name, row.route.provider.name, row.route.upstream_model)
                self._of_routes[route].append(price_of(row))
            else:
                self._of_models[row.model.name].append(price_of(row))
        self._markups = {pk: int(percent * 100) for pk, percent in
                         Team.objects.values_list("pk", "markup_percent")}  # fmt: skip

    @property
    def fingerprint(self) -> str:
        """Tells it from any other. A price row that has begun never changes."""
        markups = sorted((pk, markup) for pk, markup in self._markups.items() if markup)
        prices = [*self._of_models.items(), *self._of_routes.items()]
        ids = sorted((str(key), [price.id for price in found]) for key, found in prices)
        return hashlib.sha256(repr((ids, markups)).encode()).hexdigest()

    def price(self, record: UsageRecord) -> Price | None:
        """What was in force when the request came in: of its route, else of its model."""
        route = (record.model_served, record.provider_name, record.upstream_model)
        own = in_force(self._of_routes.get(route, ()), record.started_at)
        return own or in_force(self._of_models.get(record.model_served, ()), record.started_at)

    def markup_bp(self, record: UsageRecord) -> int:
        """The markup of the team; of one that is gone, as it was at the call."""
        return self._markups.get(record.team_id, record.markup_bp)

    def ratings(self, records: Sequence[UsageRecord]) -> Iterator[Rating]:
        earlier = _corrections(records)
        for record in records:
            yield self._rating(record, earlier.get(record.request_id, {}))

    def _rating(self, record: UsageRecord, earlier: dict[str, int]) -> Rating:
        price = self.price(record)
        old = (record.cost_nano or 0) + earlier.get("cost_nano", 0)
        old_provider = (record.provider_cost_nano or 0) + earlier.get("provider_cost_nano", 0)
        provider = self._cost_nano(price, record, earlier) if price else old_provider
        return Rating(
            record=record,
            price=price,
            old_nano=old,
            new_nano=charged_nano(provider, self.markup_bp(record)) if price else old,
            old_provider_nano=old_provider,
            new_provider_nano=provider,
            was_unpriced=(record.cost_nano is None) + earlier.get("unpriced", 0) > 0,
        )

    @staticmethod
    def _cost_nano(price: Price, record: UsageRecord, earlier: dict[str, int]) -> int:
        counts = {name: max(getattr(record, name) + earlier.get(name, 0), 0) for name in CLASSES}
        usage = TokenUsage(**counts)
        if record.usage_source == UsageRecord.Source.NONE and usage == TokenUsage():
            return 0  # nobody answered it: not even the figure per request is due
        return price.cost_nano(usage)


class Survey:
    """What pricing anew would change, by team. Writes nothing."""

    def __init__(self, tariff: Tariff) -> None:
        self._tariff = tariff
        self._totals: dict[int, TeamTotal] = {}

    def add(self, batch: Sequence[UsageRecord]) -> None:
        for rating in self._tariff.ratings(batch):
            record = rating.record
            team = self._totals.setdefault(record.team_id, TeamTotal(record.team_name))
            team.add(rating)

    @property
    def totals(self) -> list[TeamTotal]:
        return sorted(self._totals.values(), key=lambda total: total.team)


def survey(scope: Scope) -> list[TeamTotal]:
    """What pricing anew, with the prices of now, would change."""
    found = Survey(Tariff())
    for batch in scope.batches():
        found.add(batch)
    return found.totals


def scope_of(run: RerateRun) -> Scope:
    return Scope(run.first_day, run.last_day, run.model, run.team_id)


def totals_of(run: RerateRun) -> list[TeamTotal]:
    return [TeamTotal(**total) for total in run.totals]


def advance(run: RerateRun) -> None:
    """Do what is due: calculate the run, or write it. Safe to be called twice at once."""
    if run.state == RerateRun.State.WAITING:
        calculate(run)
    elif run.state == RerateRun.State.APPROVED:
        apply(run)


def calculate(run: RerateRun) -> None:
    """Find out what the run would change."""
    tariff = Tariff()
    found = Survey(tariff)
    for batch in scope_of(run).batches():
        found.add(batch)
        _show_life(run)
    run.totals = [asdict(total) for total in found.totals]
    run.tariff, run.state = tariff.fingerprint, RerateRun.State.READY
    run.save(update_fields=["totals", "tariff", "state"])


def _show_life(run: RerateRun) -> None:
    run.touched_at = timezone.now()
    run.save(update_fields=["touched_at"])


def approve(run: RerateRun, by: str) -> None:
    """Let the run be written. Raises ValueError, with a sentence, if it must not be."""
    if run.state != RerateRun.State.READY:
        raise ValueError(f"It cannot be approved: {run.get_state_display().lower()}.")
    if Tariff().fingerprint != run.tariff:
        raise ValueError(CHANGED)
    run.state, run.approved_by, run.touched_at = RerateRun.State.APPROVED, by, None
    run.save(update_fields=["state", "approved_by", "touched_at"])


def apply(run: RerateRun) -> None:
    """Write the corrections of an approved run, or those that are still missing."""
    tariff = Tariff()
    if tariff.fingerprint != run.tariff:
        run.state, run.trouble = RerateRun.State.STOPPED, CHANGED
        run.save(update_fields=["state", "trouble"])
        return
    for batch in scope_of(run).batches(run.position):
        _correct(run, batch, tariff)
        run.position = batch[-1].request_id
        run.save(update_fields=["position"])
        _show_life(run)
    run.written = UsageAdjustment.objects.filter(identity__startswith=_identity(run)).count()
    run.state, run.applied_at = RerateRun.State.APPLIED, timezone.now()
    run.save(update_fields=["state", "applied_at", "written"])


def _correct(run: RerateRun, batch: Sequence[UsageRecord], tariff: Tariff) -> None:
    """Write the corrections of a batch in one transaction.

    No two runs, and no two workers on one, correct at the same time: whoever comes second
    finds what the first has written, and no difference any more.
    """
    using = ledger.database()
    with transaction.atomic(using=using):
        _wait_for_others()
        found = [_adjustment(run, each) for each in tariff.ratings(batch) if each.differs]
        UsageAdjustment.objects.using(using).bulk_create(found, ignore_conflicts=True)
        ledger.mark_hours(adjustment.request_id for adjustment in found)


def _identity(run: RerateRun) -> str:
    return f"rerate:{run.pk}:"


def _wait_for_others() -> None:
    """Until the end of the transaction. In SQLite the transaction is the lock."""
    if ledger.connection().vendor == "postgresql":
        with ledger.connection().cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def _adjustment(run: RerateRun, rating: Rating) -> UsageAdjustment:
    record = rating.record
    copied: dict[str, Any] = {name: getattr(record, name) for name in COPIED}
    return UsageAdjustment(
        identity=f"{_identity(run)}{record.request_id}",
        reason=UsageAdjustment.Reason.RERATE,
        made_by=run.approved_by,
        model=record.model_served or record.model_asked,
        cost_nano=rating.new_nano - rating.old_nano,
        provider_cost_nano=rating.new_provider_nano - rating.old_provider_nano,
        unpriced=-1 if rating.was_unpriced else 0,
        price_id=rating.price.id if rating.price else None,
        **copied,
    )


def _corrections(records: Iterable[UsageRecord]) -> dict[UUID, dict[str, int]]:
    """The sums of what was corrected of these records before."""
    adjustments = UsageAdjustment.objects.using(ledger.database()).filter(
        request_id__in=[record.request_id for record in records]
    )
    # The prefix keeps them apart from the columns that they sum.
    sums: dict[str, Any] = {f"sum_{name}": Sum(name) for name in CORRECTED}
    found: Any = adjustments.order_by().values("request_id").annotate(**sums)
    return {row["request_id"]: {name: row[f"sum_{name}"] for name in CORRECTED} for row in found}


def take_up() -> list[int]:
    """Runs that wait for a worker, or whose worker shows no sign of life: the caller's now."""
    now = timezone.now()
    runs = RerateRun.objects.filter(state__in=(RerateRun.State.WAITING, RerateRun.State.APPROVED))
    is_alive = Q(touched_at__gt=now - timedelta(seconds=FORSAKEN_AFTER_S))
    taken = []
    for run in runs.exclude(is_alive):
        if runs.filter(pk=run.pk, touched_at=run.touched_at).update(touched_at=now):
            taken.append(run.pk)
    return taken
