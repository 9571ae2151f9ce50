"""Parquet, a group of rows at a time. Imported where a file is made: the library is large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

ROWS_IN_A_GROUP = 10_000
#: Nine places, as the ledger has them, and room for any sum.
MONEY = pa.decimal128(38, 9)
TYPES = {
    "text": pa.string(),
    "number": pa.int64(),
    "money": MONEY,
    "moment": pa.timestamp("us", tz="UTC"),
    "day": pa.date32(),
    "yes or no": pa.bool_(),
}


def write(path: Path, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> None:
    """Columns are names with one of `TYPES`. No more than a group of rows is held in memory."""
    schema = pa.schema([(name, TYPES[kind]) for name, kind in columns])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(iter(rows)):
            arrays = [
                pa.array(cells, type=field.type)
                for cells, field in zip(zip(*group, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _groups(rows: Iterator[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    while group := list(islice(rows, ROWS_IN_A_GROUP)):
        yield group
