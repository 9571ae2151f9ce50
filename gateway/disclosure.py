"""What an answer tells about itself in its headers: as much as administrators want told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from django.conf import settings

#: How many dropped parameters a header names, and how long a name may be.
MOST_NAMED = 32
LONGEST_NAME = 64
PREFIX = "x-courier-"
#: What may be left out, by what follows the prefix.
NAMES = (
    "attempts", "cost", "dropped-params", "hold", "model-served", "overhead-ms", "revision",
)  # fmt: skip
_ALL = frozenset(NAMES)
_UNFIT = re.compile(r"[^A-Za-z0-9_.\[\]-]")

Headers = dict[str, str]


def disclosed(headers: Headers) -> Headers:
    """Those of the headers that are to be told. All that are not Courier's own are."""
    if _ALL.issubset(settings.COURIER_HEADERS):
        return headers
    return {
        name: value
        for name, value in headers.items()
        if not name.startswith(PREFIX) or is_wanted(name)
    }


def is_wanted(name: str) -> bool:
    """Whether this header is to be told. Those that warn, such as of degraded limits, always."""
    short = name.removeprefix(PREFIX)
    return short not in NAMES or short in settings.COURIER_HEADERS


def dollars(nano: int) -> str:
    """To the last nano-dollar, without zeros behind it."""
    told = f"{Decimal(nano).scaleb(-9):f}"
    return told.rstrip("0").rstrip(".") if "." in told else told


def names_of(dropped: Sequence[str]) -> str:
    """Dropped parameters, fit for a header: clients may have made their names up."""
    names = [_UNFIT.sub("?", name)[:LONGEST_NAME] for name in dropped]
    return ", ".join([*names[:MOST_NAMED], *(["..."] if names[MOST_NAMED:] else [])])
