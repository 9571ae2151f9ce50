"""The measurements of one or more files as tables: medians, and each target's own best run."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

PER_REQUEST = ("CPU ms/request", lambda row: row["cpu_ms_per_request"])
PER_CHUNK = ("CPU µs/chunk", lambda row: row["cpu_us_per_chunk"])
SHARE = ("core in use", lambda row: row["core_share"])
FAILED = ("failed", lambda row: row["load"]["failed"] + row["load"]["unfinished"])


def quantile(histogram, name):
    return lambda row: row["load"][histogram][name]


PLAIN = [
    PER_REQUEST,
    ("requests/s", lambda row: row["load"]["ok"] / row["load"]["seconds"]),
    ("p50 ms", quantile("latency_ms", "p50")),
    ("p99 ms", quantile("latency_ms", "p99")),
    SHARE,
    FAILED,
]
STREAMED = [
    PER_CHUNK,
    ("chunks/s", lambda row: row["load"]["chunks"] / row["load"]["seconds"]),
    ("first chunk p50 ms", quantile("first_chunk_ms", "p50")),
    ("p99 ms", quantile("first_chunk_ms", "p99")),
    ("added p50 ms", quantile("added_ms", "p50")),
    ("p99 ms", quantile("added_ms", "p99")),
    ("KB/stream", lambda row: row["kb_per_stream"]),
    SHARE,
    FAILED,
]


def tables(files, scenarios, max_foreign=None):
    rows = [json.loads(line) for file in files for line in Path(file).read_text().splitlines()]
    if max_foreign is not None:
        rows = [row for row in rows if row["foreign_cpu"] <= max_foreign]
    for name, scenario in scenarios.items():
        measured = [row for row in rows if row["scenario"] == name]
        if measured:
            yield f"### {name}: {scenario['what']}\n\n" + table(measured)


def table(rows):
    columns = STREAMED if "chunks" in rows[0]["load"] else PLAIN
    names = [name for name, _ in columns]
    lines = [line(["target", "runs", *names, "best CPU", "other CPU"])]
    lines.append("|---" * (len(columns) + 4) + "|")
    for target in dict.fromkeys(row["target"] for row in rows):
        runs = [row for row in rows if row["target"] == target]
        medians = [statistics.median(figure(run) for run in runs) for _, figure in columns]
        best = min(columns[0][1](run) for run in runs)
        foreign = statistics.median(run["foreign_cpu"] for run in runs)
        lines.append(line([target, len(runs), *map(short, [*medians, best, foreign])]))
    return "\n".join(lines) + "\n"


def line(cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def short(figure):
    return f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.3g}"
