"""Times roll-ups, spending, reconciliation and the front page over a long log on PostgreSQL.

    python -m tests.services -- python bench/sums.py --rows 10000000 --days 30

Needs DATABASE_URL of a database that may be filled. See `bench/seed.py`.
"""

import argparse
import time
from datetime import UTC, datetime, timedelta

import seed  # sets Django up
from django.core.management import call_command
from django.db import connection
from django.test import Client

from usage import reconciliation, rollups, spending
from usage.models import HourlyUsage, UsageRecord

MINUTE = """
INSERT INTO usage_usagerecord SELECT
  (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
   || substr(md5(request_id::text), 1, 3) || '8' || substr(md5(request_id::text), 4, 15))::uuid,
  {columns} FROM usage_usagerecord LIMIT 30000
"""


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rows", type=int, default=10_000_000)
    options.add_argument("--days", type=int, default=30)
    options.add_argument("--keys", type=int, default=10_000)
    chosen = options.parse_args()
    call_command("migrate", verbosity=0)
    seed.prepare()
    seed.KEYS = chosen.keys
    seed.fill(chosen.rows // chosen.days, chosen.days)
    timed("the first roll-up, of everything", rollups.roll_up)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")
    print(f"hourly rows: {HourlyUsage.objects.count():,}")
    add_a_minute()
    now = datetime.now(UTC)
    month = [f"key:{number}" for number in range(1, 10_001)]
    front_page()  # the first page of a process compiles its templates
    timed("front page, a minute not rolled up", front_page)
    start = now - timedelta(days=30, minutes=17)
    timed("10,000 scopes, a rolling month", lambda: spending.spent_by_all(month, start, now))
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0)
    timed(
        "10,000 scopes, 60 slots of 12 hours",
        lambda: spending.spent_by_slot(month, noon - timedelta(days=30), noon, 12 * 3600),
    )
    timed("one scope, a rolling month", lambda: spending.spent_nano("team:3", start, now))
    timed("a minute's roll-up (30,000 requests)", rollups.roll_up)
    timed("front page, all rolled up", front_page)
    timed("the last two hours compared", reconciliation.compare_lately)
    yesterday = (now - timedelta(days=1)).date()
    timed("a day compared", lambda: reconciliation.compare_day(yesterday))


def add_a_minute():
    fields = [field.column for field in UsageRecord._meta.concrete_fields]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO usage_usagerecord ({', '.join(fields)}) "
            + MINUTE.partition("usage_usagerecord ")[2].format(columns=", ".join(fields[1:]))
        )


def front_page():
    from accounts.models import User

    client = Client()
    user = User.objects.filter(is_superuser=True).first()
    client.force_login(user or User.objects.create_superuser("root", password="long enough"))
    assert client.get("/admin/", HTTP_HOST="localhost").status_code == 200


def timed(what, work):
    started = time.perf_counter()
    work()
    print(f"{what}: {time.perf_counter() - started:.2f} s", flush=True)


if __name__ == "__main__":
    main()
