"""Fills a PostgreSQL with many requests, and times the pages of the admin that list them.

    python -m tests.services -- python bench/seed.py --rows 10000000 --days 60

Needs DATABASE_URL of a database that may be filled. Rows are made by the database itself.
"""

import argparse
import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "courier_site.settings")
os.environ.setdefault("COURIER_DATA_DIR", tempfile.mkdtemp(prefix="courier-seed-"))
os.environ.setdefault("COURIER_LOG_LEVEL", "ERROR")

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

KEYS, TEAMS, MODELS = 200, 20, 10
#: A key that hardly anybody uses: one request in so many.
RARE_KEY, ONE_IN = 999, 100_000
RECORDS = """
INSERT INTO usage_usagerecord (
  request_id, day, started_at, recorded_at, key_id, key_name, team_id, team_name, user_id,
  user_name, operation, streamed, model_asked, model_served, provider_name, upstream_model,
  attempts, input_tokens, cached_input_tokens, cache_write_tokens, cache_write_1h_tokens,
  audio_input_tokens, output_tokens, reasoning_tokens, audio_output_tokens, images,
  search_units, usage_source, cost_nano, provider_cost_nano, markup_bp, price_id,
  first_token_ms, total_ms, outcome, end_reason, status, client_request_id, trace_id, tags)
SELECT
  (lpad(to_hex(ms), 12, '0') || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid,
  %(day)s, at, at, CASE WHEN n %% %(one_in)s = 0 THEN %(rare)s ELSE key END, 'key-' || key,
  key %% %(teams)s + 1, 'team-' || key %% %(teams)s + 1, NULL, '', 'chat', n %% 2 = 0,
  'model-' || model, 'model-' || model, 'local', 'tiny', 1, n %% 4000, 0, 0, 0, 0, n %% 900, 0, 0,
  0, 0, 'provider', n %% 100000 * 1000, n %% 100000 * 1000, 0, 1, 300, n %% 9000, outcome,
  CASE outcome WHEN 'ok' THEN 'complete' WHEN 'upstream_timeout' THEN 'timeout'
    ELSE 'refused' END,
  200, CASE WHEN n %% 10 = 0 THEN hash ELSE '' END, '', CASE WHEN n %% 3 = 0 THEN 'blue' ELSE '' END
FROM (
  SELECT n, n * 7919 %% %(keys)s + 1 AS key, n * 31 %% %(models)s AS model,
    md5(n || %(day)s) AS hash,
    %(start)s + (n * 86400000 / %(rows)s) AS ms,
    to_timestamp((%(start)s + n * 86400000 / %(rows)s) / 1000.0) AS at,
    CASE WHEN n %% 50 = 0 THEN 'upstream_unavailable' WHEN n %% 101 = 0 THEN 'upstream_timeout'
      ELSE 'ok' END AS outcome
  FROM generate_series(0::bigint, %(rows)s - 1) n
) made
"""
PAGES = {
    "first page": "",
    "next page": "?p=2",
    "twentieth page": "?p=20",
    "one key": "?key__id__exact=17",
    "a key that is hardly used": f"?key__id__exact={RARE_KEY}",
    "one team": "?team__id__exact=3",
    "one model": "?model=model-4",
    "all errors": "?outcome=failed",
    "time-outs": "?outcome=timeout",
    "interrupted (there are none)": "?outcome=interrupted",
    "answered": "?outcome=ok",
    "one day": "?day_from={day}&day_to={day}",
    "one client's id": "?q=mine",
}
TIMES = 5


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rows", type=int, default=10_000_000)
    options.add_argument("--days", type=int, default=60)
    chosen = options.parse_args()
    call_command("migrate", verbosity=0)
    prepare()
    fill(chosen.rows // chosen.days, chosen.days)
    time_pages()


def prepare():
    from accounts.models import ApiKey, Team
    from registry.models import ServedModel

    for number in range(MODELS):
        ServedModel.objects.get_or_create(name=f"model-{number}")
    for number in range(1, TEAMS + 1):
        Team.objects.get_or_create(pk=number, defaults={"name": f"team-{number}"})
    for number in (*range(1, KEYS + 1), RARE_KEY):
        team_id = number % TEAMS + 1
        ApiKey.objects.get_or_create(
            pk=number, defaults={"name": f"key-{number}", "team_id": team_id, "digest": str(number)}
        )


def fill(rows, days):
    from usage import partitions

    today = datetime.now(UTC).date()
    started = time.monotonic()
    for day in (today - timedelta(days=ago) for ago in range(days)):
        for table in partitions.TABLES:
            if day not in {partition.day for partition in partitions.existing(table)}:
                partitions.make(partitions.Partition(table, day))
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
        names = {"day": str(day), "start": start, "rows": rows, "keys": KEYS, "teams": TEAMS,
                 "models": MODELS, "rare": RARE_KEY, "one_in": ONE_IN}  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute(RECORDS, names)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) usage_usagerecord")
        cursor.execute(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits "
            "WHERE inhparent = 'usage_usagerecord'::regclass"
        )
        (size,) = cursor.fetchone()
    took = time.monotonic() - started
    print(
        f"{rows * days:,} rows in {days} days, {float(size) / 1e9:.1f} GB, filled in {took:.0f} s"
    )


def time_pages():
    from accounts.models import User

    client = Client()
    user = User.objects.filter(is_superuser=True).first()
    client.force_login(user or User.objects.create_superuser("root", password="long enough"))
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    run(client, "")  # the first page of a process compiles its templates
    print("| page of the list | median of five | slowest | of it in the database | rows | counts |")
    print("|---|---|---|---|---|---|")
    for name, query in PAGES.items():
        runs = sorted(run(client, query.format(day=yesterday)) for _ in range(TIMES))
        took, in_database, shown, counts = runs[-1]
        times = " | ".join(f"{s * 1000:.0f} ms" for s in (runs[TIMES // 2][0], took, in_database))
        print(f"| {name} | {times} | {shown} | {counts} |")
    explain()


def run(client, query):
    started = time.perf_counter()
    with CaptureQueriesContext(connection) as captured:
        page = client.get(f"/admin/usage/usagerecord/{query}", HTTP_HOST="localhost")
    took = time.perf_counter() - started
    if page.status_code != 200:
        raise SystemExit(f"{query} was answered {page.status_code}.")
    log = [entry for entry in captured if "usage_usagerecord" in entry["sql"]]
    shown = len(page.context_data["cl"].result_list)
    counts = sum("COUNT(" in entry["sql"] for entry in log)
    return took, sum(float(entry["time"]) for entry in log), shown, counts


def explain():
    from usage.models import UsageRecord

    plan = UsageRecord.objects.all()[:50].explain(analyze=True).splitlines()
    print("\n".join(plan[:6] + ["  …"] + plan[-2:]))


if __name__ == "__main__":
    main()
