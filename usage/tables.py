"""Rows as CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from typing import Any

#: A cell that begins so is run by spreadsheets as a formula: signs, also of full width, and
#: what they skip before one.
FORMULA = "^[\x01-\x20=+\\-@\uff1d\uff0b\uff0d\uff20]"
ROWS_AT_A_TIME = 500

_FORMULA = re.compile(FORMULA)


class _Lines(list[str]):
    """Where the CSV writer writes."""

    write = list.append


def csv_lines(rows: Iterable[Iterable[Any]]) -> Iterator[bytes]:
    """RFC 4180 in UTF-8, without a mark in front, some rows at a time. Cells are as they are."""
    lines = _Lines()
    writer = csv.writer(lines)
    for row in rows:
        writer.writerow(row)
        if len(lines) >= ROWS_AT_A_TIME:
            yield "".join(lines).encode()
            lines.clear()
    if lines:
        yield "".join(lines).encode()


def harmless(cell: Any) -> Any:
    """Text on one line, with an apostrophe before what a spreadsheet would run."""
    if not isinstance(cell, str):
        return cell
    one_line = cell.replace("\r", " ").replace("\n", " ")
    return f"'{one_line}" if _FORMULA.match(cell) else one_line
