"""Raises of budgets: so much more for a while, granted by a person and kept as history."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.utils import timezone

from accounts.models import LARGEST_BUDGET, Budget, BudgetRaise, User


def grant(budget: Budget, amount: Decimal, until: datetime, reason: str, by: User) -> BudgetRaise:
    """Raise a budget from now on. Raises ValueError where the sum or the end cannot be."""
    with transaction.atomic():
        locked = Budget.objects.select_for_update().get(pk=budget.pk)
        now = timezone.now()
        if until <= now:
            raise ValueError("This moment has passed. Choose one that is to come.")
        if amount_at(locked, now) + amount > LARGEST_BUDGET:
            raise ValueError(f"With its raises a budget is at most ${LARGEST_BUDGET:,}.")
        return BudgetRaise.objects.create(
            budget=locked,
            amount=amount,
            starts_at=now,
            ends_at=until,
            reason=reason,
            granted_by=by,
        )


def end(budget: Budget) -> list[BudgetRaise]:
    """End the raises of a budget that are in force, now. They stay visible."""
    now = timezone.now()
    with transaction.atomic():
        ended = list(budget.raises.select_for_update().filter(starts_at__lt=now, ends_at__gt=now))
        for one in ended:
            one.ends_at = now
            one.save(update_fields=["ends_at"])
    return ended


def amount_at(budget: Budget, moment: datetime) -> Decimal:
    """The amount with the raises that are in force at that moment, in US dollars."""
    raises = budget.raises.all()
    return budget.amount + sum(
        (one.amount for one in raises if one.starts_at <= moment < one.ends_at), Decimal(0)
    )
