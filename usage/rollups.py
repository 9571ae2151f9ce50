"""From the log to hours and days: sums that are exact whatever happens to who makes them."""

from __future__ import annotations

from datetime import datetime
from types import ModuleType

from django.db import connection

from usage import stale_hours, transaction_window


def roll_up() -> int:
    """Bring the sums up to date with the log. Returns how many hourly rows changed.

    Any number may run at once, and be killed at any moment. In PostgreSQL it must not be
    called inside a transaction: it chooses its own moment to look at the log.
    """
    written: int = way().roll_up()
    return written


def make_anew(start: datetime, end: datetime) -> None:
    """Replace the sums from one midnight (UTC) up to another by what the log says."""
    way().make_anew(start, end)


def rebuild() -> None:
    """Make all sums anew of which the log still tells."""
    way().start_over()
    roll_up()


def trouble() -> str:
    """Why the sums stay behind the log, as a sentence; empty if they do not."""
    if connection.vendor != "postgresql":
        return ""
    if hold := transaction_window.held_back():
        whose = f"PostgreSQL's process {hold.process} has" if hold.process else "Somebody has"
        return (
            f"Sums stand still since {hold.since:%H:%M} UTC: {whose} a transaction open, "
            "perhaps in another database. End it."
        )
    if transaction_window.is_left_behind():
        return "Sums have not been brought up to date for minutes. Is the worker running?"
    return ""


def way() -> ModuleType:
    return transaction_window if connection.vendor == "postgresql" else stale_hours
