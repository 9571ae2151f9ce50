"""What upstream keys have spent, as the ledger says.

The log lies above these tables; who keeps one says here how to look it up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from registry.models import UpstreamKey


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one key's budget, in its present period."""

    spent_nano: int
    #: When the period ends. None: never.
    ends_at: datetime | None
    #: When the budget is used up, if all goes on as lately. None: not in this period.
    runs_out_at: datetime | None


Look = Callable[[Sequence[UpstreamKey]], Mapping[int, Figures]]
_looks: list[Look] = []


def on_question(look: Look) -> None:
    """Have `look` asked what keys with a budget have spent."""
    if look not in _looks:
        _looks.append(look)


def of(keys: Sequence[UpstreamKey]) -> dict[int, Figures]:
    """By the id of the key; of those without a budget none."""
    asked = [key for key in keys if key.budget is not None]
    return {pk: each for look in _looks for pk, each in look(asked).items()} if asked else {}
