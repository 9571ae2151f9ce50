"""What people are told of: each thing once, and to whom it concerns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from accounts.models import Budget, Membership, Team, User
from usage import emails
from usage.models import Alert, Delivery, Webhook

LONGEST_IDENTITY = 150
LONGEST_TEXT = 500


def raise_alert(
    kind: Alert.Kind,
    identity: str,
    text: str,
    data: Mapping[str, Any] | None = None,
    *,
    team: Team | None = None,
    person: User | None = None,
    budget: Budget | None = None,
) -> Alert | None:
    """Tell people once. Returns None if this identity was told before, or by a racing caller.

    It concerns `person`, or else the owners of `team`, or else whoever runs the
    installation. `text` and `data` leave the house: no secret and no prompt belongs into
    them. Call it outside of transactions that may fail: they would take it back.
    """
    with transaction.atomic():
        alert, is_new = Alert.objects.get_or_create(
            identity=_fitting(identity),
            defaults={
                "kind": kind,
                "text": text[:LONGEST_TEXT],
                "data": dict(data or {}),
                "team": team,
                "budget": budget,
            },
        )
        if not is_new:
            return None
        Delivery.objects.bulk_create(_deliveries(alert, person))
    return alert


def _fitting(identity: str) -> str:
    """One that is too long ends in its digest, so that it stays the only one."""
    if len(identity) <= LONGEST_IDENTITY:
        return identity
    digest = hashlib.sha256(identity.encode()).hexdigest()
    return f"{identity[: LONGEST_IDENTITY - len(digest) - 1]}~{digest}"


def _deliveries(alert: Alert, person: User | None) -> Iterator[Delivery]:
    for webhook in Webhook.objects.filter(Q(team=None) | Q(team=alert.team), enabled=True):
        yield Delivery(alert=alert, webhook=webhook)
    if emails.are_sent():
        for address in sorted(_addresses(alert.team, person)):
            yield Delivery(alert=alert, email=address)


def _addresses(team: Team | None, person: User | None) -> set[str]:
    """Of the first of these that has any: the person, the team's owners, the installation."""
    return (
        _reachable([person] if person else [])
        or _reachable(_owners(team) if team else [])
        or _reachable(User.objects.filter(is_superuser=True)) | set(settings.COURIER_ALERT_EMAILS)
    )


def _owners(team: Team) -> QuerySet[User]:
    return User.objects.filter(memberships__team=team, memberships__role=Membership.Role.OWNER)


def _reachable(people: Iterable[User]) -> set[str]:
    return {person.email for person in people if person.is_active and person.email}
