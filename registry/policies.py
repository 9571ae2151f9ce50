"""The words of routing policies: what their conditions and actions may say. Pure.

A policy is data. Its conditions must all hold; a list holds if one of its patterns fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lib.money import NANO_PER_DOLLAR
from registry.capabilities import TRAITS as CAPABILITIES
from registry.traits import TRAITS

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Pattern = Annotated[str, Field(min_length=1, max_length=200)]
#: As in fnmatch: * stands for anything.
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=100)]
Count = Annotated[int, Field(ge=0, strict=True)]
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class Words(BaseModel):
    """Words that are known, and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Conditions(Words):
    """When a policy applies. What is not told always holds."""

    teams: Patterns = ()
    keys: Patterns = ()
    tags: Patterns = ()
    #: Names that clients ask for or are served by.
    models: Patterns = ()
    endpoints: Patterns = ()
    input_tokens_at_least: Count | None = None
    input_tokens_at_most: Count | None = None
    #: Percent of the caller's fullest budget, spent and held.
    budget_used_at_least: Annotated[int, Field(ge=0, le=1000, strict=True)] | None = None
    #: Capabilities without which the request cannot be answered in full.
    needs: Patterns = ()
    #: Such as 22:00-06:00, in `time_zone`.
    hours: str = ""
    days: tuple[Day, ...] = ()
    time_zone: str = "UTC"

    @field_validator("needs")
    @classmethod
    def _are_capabilities(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known(names, CAPABILITIES)

    @field_validator("hours")
    @classmethod
    def _are_hours(cls, told: str) -> str:
        if told and not _HOURS.fullmatch(told):
            raise ValueError("Write hours as 22:00-06:00")
        return told

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("Write a time zone such as Europe/Paris")
        return name

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def minutes(self) -> tuple[int, int] | None:
        """The first minute of the day, and the one that is no longer in."""
        found = _HOURS.fullmatch(self.hours)
        if not found:
            return None
        begin_h, begin_m, end_h, end_m = map(int, found.groups())
        return begin_h * 60 + begin_m, end_h * 60 + end_m


class Actions(Words):
    """What a policy does to the routes. They are named `provider` or `provider/model`."""

    #: Only these are tried.
    pin: Patterns = ()
    #: These are not tried.
    exclude: Patterns = ()
    #: These are tried before the others.
    prefer: Patterns = ()
    #: Only routes certified for all of these are tried.
    certified: Patterns = ()
    #: US dollars that the request may cost at most, by an estimate.
    max_cost: Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=9)] | None = None
    #: No later policy is looked at.
    last: bool = False

    @field_validator("certified")
    @classmethod
    def _are_traits(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known(names, TRAITS)

    @model_validator(mode="after")
    def _do_something(self) -> Actions:
        if not self.model_fields_set:
            raise ValueError("A policy needs an action")
        return self

    @property
    def max_cost_nano(self) -> int | None:
        return None if self.max_cost is None else int(self.max_cost * NANO_PER_DOLLAR)


#: Of a policy that cannot be read: no provider has such a name.
NO_ROUTE = Actions(pin=(" ",), last=True)


@dataclass(frozen=True, slots=True)
class Policy:
    """A routing policy in memory."""

    name: str
    conditions: Conditions
    actions: Actions


def complaints(conditions: object, actions: object) -> dict[str, list[str]]:
    """Why these will not do, as sentences by field; empty if they will."""
    found = {"conditions": faults(Conditions, conditions), "actions": faults(Actions, actions)}
    return {
        field: [f"{place}: {said}" if place else said for place, said in those]
        for field, those in found.items()
        if those
    }


def faults(words: type[Words], value: object) -> list[tuple[str, str]]:
    """Which of the words is wrong, and why, as a sentence. Empty: all of them together."""
    try:
        words.model_validate(value)
    except ValidationError as error:
        return [_fault(each["loc"], each["msg"]) for each in error.errors()]
    return []


def policy_of(name: str, conditions: Mapping[str, Any], actions: Mapping[str, Any]) -> Policy:
    """Raises ValueError if one of them will not do."""
    return Policy(name, Conditions.model_validate(conditions), Actions.model_validate(actions))


def _fault(place: tuple[int | str, ...], message: str) -> tuple[str, str]:
    return str(place[0]) if place else "", f"{message.removeprefix('Value error, ')}."


def _known(names: tuple[str, ...], known: Any) -> tuple[str, ...]:
    if any(name not in known for name in names):
        raise ValueError(f"These are some of: {', '.join(known)}")
    return names
