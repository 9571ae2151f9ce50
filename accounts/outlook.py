"""What becomes of the budgets of keys and teams, as far as the ledger foresees it.

The log lies above these tables; who keeps one says here how to look ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from accounts.models import ApiKey, Team


@dataclass(frozen=True, slots=True)
class Outlook:
    """Of the budget that runs out first."""

    #: Such as "$60.00 of $100.00 of its monthly budget used".
    used: str
    #: Such as "2026-11-17 04:00 UTC".
    runs_out: str
    #: Whether it is used up, or will be before its window ends.
    is_short: bool


Look = Callable[[Sequence[ApiKey] | Sequence[Team]], Mapping[int, Outlook]]
_looks: list[Look] = []


def on_question(look: Look) -> None:
    """Have `look` asked what becomes of the budgets of keys, or of teams."""
    if look not in _looks:
        _looks.append(look)


def of(rows: Sequence[ApiKey] | Sequence[Team]) -> dict[int, Outlook]:
    """By the id of the key or team; of those without a budget none."""
    return {pk: outlook for look in _looks for pk, outlook in look(rows).items()}
