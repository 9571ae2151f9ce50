"""What a report is of: its days, what it is by, and what is left in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from usage import pieces
from usage.pieces import BY_TIME, DAY, Bucket


class Dimension(NamedTuple):
    """What a report is by: what tells its values apart, and what they were called."""

    column: str
    name: str = ""


DIMENSIONS = {
    "team": Dimension("team_id", "team_name"),
    "user": Dimension("user_id", "user_name"),
    "key": Dimension("key_id", "key_name"),
    "model": Dimension("model"),
    "provider": Dimension("provider_name"),
    "tag": Dimension("tag"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """What a report is of. Days are days of the time zone, and both belong to it."""

    dimensions: tuple[str, ...]
    first_day: date
    last_day: date
    time_zone: str = "UTC"
    #: By dimension, the values that are left in: ids of teams, users and keys, else names.
    filters: Mapping[str, list[Any]] = field(default_factory=dict)
    currency: str = "USD"
    #: Of the currency per US dollar.
    rate: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        if sum(name in BY_TIME for name in self.dimensions) > 1:
            raise ValueError("A report is by one unit of time.")
        if "tag" not in self.dimensions and len(self.filters.get("tag", ())) > 1:
            # A request with two of them would count twice.
            raise ValueError("Choose one tag, or make the report by tag.")

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Question:
        days = {name: date.fromisoformat(told[name]) for name in ("first_day", "last_day")}
        dimensions, rate = tuple(told["dimensions"]), Decimal(told["rate"])
        return cls(**{**told, **days, "dimensions": dimensions, "rate": rate})

    def as_json(self) -> dict[str, Any]:
        days = {name: str(getattr(self, name)) for name in ("first_day", "last_day")}
        rate = f"{self.rate.normalize():f}"
        return {**asdict(self), **days, "dimensions": list(self.dimensions), "rate": rate}

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def start(self) -> datetime:
        return pieces.midnight(self.first_day, self.zone)

    @property
    def end(self) -> datetime:
        return pieces.midnight(self.last_day + DAY, self.zone)

    @property
    def time(self) -> str:
        """The dimension of time, or nothing."""
        return next((name for name in self.dimensions if name in BY_TIME), "")

    @property
    def others(self) -> list[str]:
        return [name for name in self.dimensions if name not in BY_TIME]

    @property
    def knows_tags(self) -> bool:
        return "tag" in self.dimensions or bool(self.filters.get("tag"))

    def buckets(self) -> list[Bucket]:
        if self.time:
            return BY_TIME[self.time](self.first_day, self.last_day, self.zone)
        return pieces.whole(self.start, self.end)


def has_id(dimension: str) -> bool:
    return dimension in DIMENSIONS and bool(DIMENSIONS[dimension].name)
