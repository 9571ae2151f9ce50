"""What is kept for how long. Every purge leaves a receipt; days not yet in the sums are spared.

On PostgreSQL a day of the log goes as a partition, on SQLite in small batches.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import F, Max, Min, QuerySet
from django.utils import timezone

from lib.ids import lowest_at, made_at
from usage import exports, partitions
from usage.append_only import paused
from usage.models import (
    Decision,
    HourlyAttempts,
    HourlyTagUsage,
    HourlyUsage,
    PurgeReceipt,
    StaleHour,
    UsageAdjustment,
    UsageAttempt,
    UsageRecord,
)
from usage.partitions import Partition
from usage.purges import YOUNGEST_PURGED

logger = logging.getLogger(__name__)

BATCH = 1000
ONE_DAY = timedelta(days=1)
Kind = PurgeReceipt.Kind
KIND_OF = {UsageRecord._meta.db_table: Kind.RECORDS, UsageAttempt._meta.db_table: Kind.ATTEMPTS}
IS_SUMMED = (
    "SELECT NOT EXISTS (SELECT 1 FROM {table} WHERE x >= (SELECT coalesce(max(upto), 0) "
    "FROM usage_rollupmark WHERE upto <= pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    ")::text::xid8 {where})"
)


class Day(NamedTuple):
    """One day of the log, in UTC."""

    date: date

    @property
    def start(self) -> datetime:
        return datetime.combine(self.date, datetime.min.time(), UTC)

    @property
    def end(self) -> datetime:
        return self.start + ONE_DAY

    @property
    def partitions(self) -> list[Partition]:
        present = [made for table in partitions.TABLES for made in partitions.existing(table)]
        return [partition for partition in present if partition.day == self.date]


def purge() -> list[PurgeReceipt]:
    """Remove all that was kept long enough. Returns the receipts."""
    return [*purge_decisions(), *purge_records(), *purge_hourly_sums(), *purge_exports()]


def purge_records() -> list[PurgeReceipt]:
    """Remove requests with their attempts and adjustments, whole days, the oldest first."""
    before = _horizon(settings.COURIER_KEEP_RECORDS_DAYS)
    if before is None:
        return []
    if connection.vendor == "postgresql":
        return [receipt for day in _days_of_partitions(before) for receipt in _drop(day)]
    return [receipt for day in _days_of_rows(before) for receipt in _delete(day)]


def purge_decisions() -> list[PurgeReceipt]:
    """Remove why requests went as they did, the oldest first. No longer kept than the log."""
    told = (settings.COURIER_KEEP_DECISIONS_DAYS, settings.COURIER_KEEP_RECORDS_DAYS)
    before = _horizon(min((days for days in told if days), default=0))
    if before is None:
        return []
    if connection.vendor == "postgresql":
        made = partitions.existing(partitions.DECISIONS)
        return [receipt for one in made if one.day < before for receipt in _drop_decisions(one)]
    start = datetime.combine(before, datetime.min.time(), UTC)
    old: QuerySet[Any] = Decision.objects.filter(request_id__lt=lowest_at(start))
    first, last = old.order_by("request_id").first(), old.order_by("request_id").last()
    if first is None or last is None:
        return []
    days = {"first_day": made_at(first.pk).date(), "last_day": made_at(last.pk).date()}
    return [_delete_in_batches(old, PurgeReceipt(kind=Kind.DECISIONS, **days))]


def _drop_decisions(partition: Partition) -> list[PurgeReceipt]:
    rows = _count(partition)
    try:
        with transaction.atomic():
            partitions.lock(partition)
            partitions.drop(partition)
            return [_receipt(Kind.DECISIONS, Day(partition.day), rows)]
    except OperationalError:
        logger.warning("decisions of %s are kept for now: they are being read", partition.day)
        return []


def purge_hourly_sums() -> list[PurgeReceipt]:
    """Remove sums per hour. Those per day stay."""
    before = _horizon(settings.COURIER_KEEP_ROLLUPS_DAYS)
    if before is None:
        return []
    purged = []
    for model in (HourlyUsage, HourlyTagUsage, HourlyAttempts):
        old: QuerySet[Any] = model._default_manager.filter(
            hour__lt=datetime.combine(before, datetime.min.time(), UTC)
        )
        ends = old.aggregate(first=Min("hour"), last=Max("hour"))
        if ends["first"]:
            receipt = PurgeReceipt(
                kind=Kind.HOURLY, first_day=ends["first"].date(), last_day=ends["last"].date()
            )
            purged.append(_delete_in_batches(old, receipt))
    return purged


def purge_exports() -> list[PurgeReceipt]:
    """Remove exports with their files."""
    before = _horizon(settings.COURIER_KEEP_EXPORTS_DAYS)
    if before is None:
        return []
    first, rows = exports.purge(datetime.combine(before, datetime.min.time(), UTC))
    if first is None:
        return []
    last = before - ONE_DAY
    return [
        PurgeReceipt.objects.create(kind=Kind.EXPORTS, first_day=first, last_day=last, rows=rows)
    ]


def _horizon(days: int) -> date | None:
    """The first day that is kept. None: everything is."""
    if not days:
        return None
    kept = max(timedelta(days=days), YOUNGEST_PURGED)
    return (timezone.now().astimezone(UTC) - kept).date()


def _days_of_partitions(before: date) -> list[Day]:
    made = [day for table in partitions.TABLES for day in partitions.existing(table)]
    return [Day(date) for date in sorted({partition.day for partition in made}) if date < before]


def _drop(day: Day) -> list[PurgeReceipt]:
    """Drop a day, unless some of it is in no sums yet or is being read just now."""
    rows = {partition: _count(partition) for partition in day.partitions}
    try:
        with transaction.atomic():
            for partition in rows:
                partitions.lock(partition)
            if not _is_summed(day):
                logger.warning("%s is kept for now: not all of it is in the sums", day.date)
                return []
            for partition in rows:
                partitions.drop(partition)
            receipts = [_receipt(KIND_OF[gone.table], day, n) for gone, n in rows.items()]
            return [*receipts, *_drop_adjustments(day)]
    except OperationalError:
        logger.warning("%s is kept for now: it is being read", day.date)
        return []


def _count(partition: Partition) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {partition.name}")  # noqa: S608  # a name of ours
        return int(cursor.fetchone()[0])


def _is_summed(day: Day) -> bool:
    """Whether the roll-ups have read all of a day, adjustments too."""
    adjustments = ("usage_usageadjustment", "AND started_at >= %s AND started_at < %s")
    tables = [(partition.name, "") for partition in day.partitions]
    with connection.cursor() as cursor:
        for table, where in (*tables, adjustments):
            parameters = [day.start, day.end] if where else None
            cursor.execute(IS_SUMMED.format(table=table, where=where), parameters)
            if not cursor.fetchone()[0]:
                return False
    return True


def _drop_adjustments(day: Day) -> list[PurgeReceipt]:
    with paused(UsageAdjustment._meta.db_table):
        count, _ = _adjustments(day).delete()
    return [_receipt(Kind.ADJUSTMENTS, day, count)] if count else []


def _adjustments(day: Day) -> QuerySet[UsageAdjustment]:
    return UsageAdjustment.objects.filter(started_at__gte=day.start, started_at__lt=day.end)


def _days_of_rows(before: date) -> Iterator[Day]:
    """The days that have records, found one after the other along the primary key."""
    first = UsageRecord.objects.order_by("request_id").first()
    while first and first.day < before:
        day = Day(first.day)
        yield day
        first = UsageRecord.objects.since(day.end).order_by("request_id").first()


def _delete(day: Day) -> list[PurgeReceipt]:
    """Delete a day in batches, unless some of it is in no sums yet."""
    if StaleHour.objects.filter(hour__gte=day.start, hour__lt=day.end).exists():
        logger.warning("%s is kept for now: not all of it is in the sums", day.date)
        return []
    ids = {"request_id__gte": lowest_at(day.start), "request_id__lt": lowest_at(day.end)}
    parts: list[tuple[PurgeReceipt.Kind, QuerySet[Any]]] = [
        # Records last: what is left of a day that was broken off is found by them.
        (Kind.ATTEMPTS, UsageAttempt.objects.filter(**ids)),
        (Kind.ADJUSTMENTS, _adjustments(day)),
        (Kind.RECORDS, UsageRecord.objects.filter(**ids)),
    ]
    return [
        _delete_in_batches(rows, PurgeReceipt(kind=kind, first_day=day.date, last_day=day.date))
        for kind, rows in parts
        if rows.exists()
    ]


def _delete_in_batches(rows: QuerySet[Any], receipt: PurgeReceipt) -> PurgeReceipt:
    """Each batch and its place on the receipt in one transaction."""
    receipt.rows = 0
    while batch := list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            if not receipt.pk:
                receipt.save()
            count, _ = rows.filter(pk__in=batch).delete()
            receipt.rows = F("rows") + count
            receipt.save(update_fields=["rows"])
    receipt.refresh_from_db()
    return receipt


def _receipt(kind: PurgeReceipt.Kind, day: Day, rows: int) -> PurgeReceipt:
    return PurgeReceipt.objects.create(kind=kind, first_day=day.date, last_day=day.date, rows=rows)
