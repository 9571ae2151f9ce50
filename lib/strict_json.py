"""A client's JSON, read only if it means one thing to whoever reads it, as in RFC 7493 (I-JSON).

What Courier decides by one reading must not be answered by a provider that reads another: of
two fields of the same name some take the first and some the last.
"""

from __future__ import annotations

import codecs
import math
from typing import Any

import jiter

from lib.json_reading import TooDeep, levels, outside_strings

#: Lists and objects inside each other, at most.
MOST_LEVELS = 64
TOO_DEEP = f"it is nested more than {MOST_LEVELS} levels deep"
#: Characters of one text, and fields of one object, at most.
LONGEST_TEXT = 8 * 1024 * 1024
MOST_FIELDS = 10_000
#: Objects and values in all, at most. A body has room for millions, each of which is looked at
#: while everybody else waits.
MOST_OBJECTS = 50_000
MOST_VALUES = 500_000
#: Signed and unsigned: schemas of tools name the bounds of either.
INTEGERS = range(-(2**63), 2**64)
#: What editors and shells put in front of a text; RFC 8259 (8.1) forbids senders to.
BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

#: All digits look the same to who looks for long numbers, and so do all exponents.
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")
#: Integers that may be out of range; exponents of numbers that may be infinite.
_MANY_DIGITS, _LARGE_EXPONENT = b"0" * 19, b"0e000"


class OutOfBounds(ValueError):
    """JSON that is well-formed, and holds more than anybody needs, or can read."""


def loads(text: bytes, longest_text: int = LONGEST_TEXT) -> Any:
    """The value that `text` is. Raises ValueError: TooDeep or OutOfBounds if it is JSON at all."""
    if text.startswith(BYTE_ORDER_MARKS):
        raise ValueError("it begins with a byte order mark; send UTF-8, which needs none")
    if text.count(b"{") > MOST_OBJECTS or text.count(b",") >= MOST_VALUES:
        # Before it is parsed, which would take the time that is to be saved.
        _check_size(text)
    value = _parsed(text)
    if text.count(b"[") + text.count(b"{") > MOST_LEVELS and levels(text) > MOST_LEVELS:
        raise TooDeep(TOO_DEEP)
    if len(text) > longest_text or _may_be_out_of_bounds(text):
        _check(value, longest_text)
    return value


def _parsed(text: bytes) -> Any:
    try:
        return jiter.from_json(
            text, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys"
        )
    except ValueError as error:
        # The parser's own bound: deeper than it goes is deeper than we do.
        if str(error).startswith("recursion"):
            raise TooDeep(TOO_DEEP) from None
        raise


def _may_be_out_of_bounds(text: bytes) -> bool:
    """Whether it is worth a look at every value. Usually it is not: this is much cheaper."""
    if text.count(b":") > MOST_FIELDS:
        return True
    zeros = text.translate(_DIGITS, b"+")
    return _MANY_DIGITS in zeros or _LARGE_EXPONENT in zeros


def _check_size(text: bytes) -> None:
    marks = outside_strings(text, b"{,")
    if marks.count(b"{") > MOST_OBJECTS:
        raise OutOfBounds(f"it has more than {MOST_OBJECTS} objects")
    if marks.count(b",") >= MOST_VALUES:
        raise OutOfBounds(f"it has more than {MOST_VALUES} values")


def _check(value: Any, longest_text: int) -> None:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            _check_fields(each)
            waiting.extend(each)
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, str):
            _check_text(each, longest_text)
        elif isinstance(each, int | float):
            _check_number(each)


def _check_fields(value: dict[str, Any]) -> None:
    if len(value) > MOST_FIELDS:
        raise OutOfBounds(f"an object in it has more than {MOST_FIELDS} fields")


def _check_text(value: str, longest: int) -> None:
    if len(value) > longest:
        raise OutOfBounds(f"a text in it is longer than {longest} characters")


def _check_number(value: float) -> None:
    if not (value in INTEGERS if isinstance(value, int) else math.isfinite(value)):
        raise OutOfBounds("a number in it does not fit into 64 bits")
