"""Who changes the configuration, and why: all that is changed inside of `made_by` is one revision.

What a revision holds is an export, which lies above: who makes exports registers itself here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from django.db import transaction


@dataclass
class Making:
    """A revision that is being made."""

    #: One of `RecordedRevision.Origin`.
    origin: str
    #: A user's name, a manifest's file, a command or a task.
    author: str
    note: str = ""
    #: Whether anything was changed at all.
    has_changes: bool = False
    #: Under which it was recorded, once it is.
    number: int | None = None


Record = Callable[[Making], object]
CatchUp = Callable[[], None]
_making: ContextVar[Making | None] = ContextVar("making", default=None)
_recorders: list[tuple[Record, CatchUp]] = []


def on_revision(record: Record, catch_up: CatchUp) -> None:
    """Have `record` called in the transaction of a change that is known to be whole.

    `catch_up` is called after any other change of the configuration was committed.
    """
    _recorders[:] = [(record, catch_up)]


@contextmanager
def made_by(origin: str, author: str, note: str = "") -> Iterator[Making]:
    """Make all changes inside one transaction, and one revision. Inside of another, it is that.

    What fails is undone, also where whoever makes the other one catches the failure.
    """
    outer = _making.get()
    if outer is not None:
        with transaction.atomic():
            yield outer
        return
    making = Making(origin, author, note)
    with transaction.atomic():
        token = _making.set(making)
        try:
            yield making
        finally:
            _making.reset(token)
        if making.has_changes:
            for record, _ in _recorders:
                record(making)


def explain(reason: str) -> None:
    """Say in the revision that is being made why."""
    if making := _making.get():
        making.note = f"{making.note} {reason}".strip()


def changed() -> None:
    """Something was changed, in the transaction that is under way."""
    making = _making.get()
    if making is not None:
        making.has_changes = True
        return
    for _, catch_up in _recorders:
        transaction.on_commit(catch_up, robust=True)
