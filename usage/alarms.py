"""What is wrong with the ledger itself, told once a day to whoever runs the installation."""

from __future__ import annotations

from datetime import UTC, datetime

from django.utils import timezone

from usage import partitions
from usage.alerts import raise_alert
from usage.models import Alert, QuarantinedRecord


def look() -> None:
    now = timezone.now().astimezone(UTC)
    _tell_of_quarantine(now)
    _tell_of_strays(now)


def _tell_of_quarantine(now: datetime) -> None:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    count = QuarantinedRecord.objects.filter(created_at__gte=midnight).count()
    if count:
        raise_alert(
            Alert.Kind.QUARANTINE,
            f"{Alert.Kind.QUARANTINE}:{now:%Y-%m-%d}",
            "The database refused usage records, and they were set aside. They are in no sum; "
            "see Quarantine in the admin.",
            {"records": count},
        )


def _tell_of_strays(now: datetime) -> None:
    if partitions.has_strays():
        raise_alert(
            Alert.Kind.STRAY,
            f"{Alert.Kind.STRAY}:{now:%Y-%m-%d}",
            "Usage records lie in no partition of their own day. Nothing is lost; see that the "
            "worker and beat run, for they make the partitions ahead.",
        )
