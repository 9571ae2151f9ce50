"""Times reports and exports over a long log on PostgreSQL.

    python -m tests.services -- python bench/reports.py --rows 10000000 --days 30

Needs DATABASE_URL of a database that may be filled. See `bench/seed.py`.
"""

import argparse
import resource
import time
from datetime import UTC, datetime, timedelta

import seed  # sets Django up
from django.core.management import call_command
from django.db import connection

from accounts.models import Team
from usage import as_of, export_files, reports, rollups, statements
from usage.models import DailyUsage, HourlyUsage
from usage.report_questions import Question

REPORTS = {
    "by team": (("team",), "UTC"),
    "by key and model": (("key", "model"), "UTC"),
    "by day and model": (("day", "model"), "UTC"),
    "by day and key in Berlin": (("day", "key"), "Europe/Berlin"),
    "by hour": (("hour",), "UTC"),
    "by day in Kolkata (edges from the log)": (("day",), "Asia/Kolkata"),
    "by tag": (("tag",), "UTC"),
}
#: One late row in each of so many hours, written after the moment.
LATE = """
INSERT INTO usage_usageadjustment (identity, request_id, started_at, recorded_at, reason, note,
  made_by, key_id, key_name, team_id, team_name, user_id, user_name, model, provider_name, tags,
  input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, images,
  cost_nano, provider_cost_nano, unpriced)
SELECT DISTINCT ON (date_trunc('hour', started_at)) 'late:' || request_id, request_id, started_at,
  now(), 'rerate', '', '', key_id, key_name, team_id, team_name, user_id, user_name,
  model_served, provider_name, tags, 0, 0, 0, 0, 0, 0, -1, 0, 0
FROM usage_usagerecord WHERE day = ANY(%s) ORDER BY date_trunc('hour', started_at)
"""


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rows", type=int, default=10_000_000)
    options.add_argument("--days", type=int, default=30)
    options.add_argument("--exports", action=argparse.BooleanOptionalAction, default=True)
    chosen = options.parse_args()
    call_command("migrate", verbosity=0)
    seed.prepare()
    seed.fill(chosen.rows // chosen.days, chosen.days)
    rollups.roll_up()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")
    print(f"{HourlyUsage.objects.count():,} hourly rows, {DailyUsage.objects.count():,} daily")
    moment = as_of.settle()
    last = datetime.now(UTC).date() - timedelta(days=1)
    first = last - timedelta(days=chosen.days - 3)
    before = {what: one(what, first, last, moment) for what in REPORTS}
    with connection.cursor() as cursor:
        cursor.execute(LATE, [[last, last - timedelta(days=7)]])
    rollups.roll_up()
    print("after late rows in 48 hours, as of the former moment:")
    after = {what: one(what, first, last, moment) for what in REPORTS}
    assert after == before
    month = last.replace(day=1)
    timed("statement", lambda: statements.statement(Team.objects.get(pk=3), month, moment))
    for format in ("csv", "parquet") if chosen.exports else ():
        export(format, moment)


def one(what, first, last, moment):
    dimensions, zone = REPORTS[what]
    question = Question(dimensions, first, last, zone)
    report = timed(what, lambda: reports.report(question, moment))
    return list(report.rows())


def export(format, moment):
    order = export_files.order(kind="requests", format=format, as_of=moment.at)
    before = peak()
    timed(f"all requests as {format}", lambda: export_files.make(order.pk))
    order.refresh_from_db()
    size = f"{order.rows:,} rows, {order.size / 1e6:,.0f} MB"
    print(f"  {order.state}: {size}, memory at its peak +{(peak() - before) / 1024:.0f} MiB")


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def timed(what, work):
    started = time.perf_counter()
    result = work()
    print(f"{what}: {time.perf_counter() - started:.2f} s", flush=True)
    return result


if __name__ == "__main__":
    main()
