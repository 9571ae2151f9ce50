"""On PostgreSQL sums are exact whoever commits late, races or is killed (R03, R07, R08, F50-51)."""

import os
import random
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.utils import timezone

from lib.ids import lowest_at, uuid7
from tests.services import wait_for as eventually
from tests.soak import trials
from tests.usage.agreement import all_agree
from tests.usage.spools import make_record, record_on
from tests.usage.summing import sum_up
from usage import rollups, transaction_window
from usage.models import HourlyUsage, RollupMark, UsageAttempt, UsageRecord

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="Of PostgreSQL's transactions"),
]

MONDAY = date(2026, 11, 16)
#: Where a worker can die: after the statement that begins so.
CRASH_POINTS = {
    "the snapshot is taken": "SET TRANSACTION",
    "hours are added": "INSERT INTO usage_hourlyusage",
    "days are added": "INSERT INTO usage_dailyusage",
    "tags of hours are added": "INSERT INTO usage_hourlytagusage",
    "tags of days are added": "INSERT INTO usage_dailytagusage",
    "attempts are added": "INSERT INTO usage_hourlyattempts",
    "the mark is moved": "UPDATE usage_rollupmark",
}
KILLS = trials(10, 50)


def some_record(chance):
    """A request of some hour of the last two days, of some scope, with some tags."""
    moment = datetime.now(UTC) - timedelta(seconds=chance.randrange(48 * 3600))
    return make_record(
        request_id=UUID(int=lowest_at(moment).int | uuid7().int & (1 << 62) - 1),
        key_id=chance.randrange(4),
        team_id=chance.randrange(2),
        user_id=chance.choice([None, 1]),
        cost_nano=chance.choice([None, 1, 20_000]),
        tags=chance.choice(["", "a", "a,b"]),
    )


def ship(own, *records):
    own.record(*records)
    own.ship()


def attempt_of(record):
    UsageAttempt.objects.create(
        request_id=record.request_id,
        number=1,
        started_at=record.started_at,
        key_id=record.key_id,
        team_id=record.team_id,
        model_served="small",
        provider_name="local",
        upstream_model="tiny",
        outcome="ok",
        received=True,
        input_tokens=1,
        output_tokens=1,
        usage_source="provider",
        total_ms=1,
    )


def in_a_process(work):
    """Run it in a child with a connection of its own. Returns the child's id."""
    connection.close()
    connection.close_pool()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            work()
        os._exit(1)
    return child


def wait_for(child):
    return os.waitpid(child, 0)[1]


def dying_after(beginning):
    """Roll up, and be killed right after the statement that begins so."""

    def execute_and_die(execute, sql, *rest):
        result = execute(sql, *rest)
        if sql.strip().startswith(beginning):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    def work():
        with connection.execute_wrapper(execute_and_die):
            roll_up_for_ever()

    return work


def roll_up_for_ever():
    while True:
        rollups.roll_up()


def in_threads(count, work):
    def and_close():
        work()
        connection.close()

    threads = [threading.Thread(target=and_close) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_r07_f50_a_worker_that_is_killed_leaves_exact_sums(own, point):
    ship(own, record_on(MONDAY, tags="a"))
    sum_up()
    record = record_on(MONDAY, tags="a,b")
    ship(own, record, record_on(MONDAY))
    attempt_of(record)

    status = wait_for(in_a_process(dying_after(CRASH_POINTS[point])))

    assert os.WTERMSIG(status) == signal.SIGKILL
    in_threads(2, sum_up)
    assert all_agree()
    assert HourlyUsage.objects.get().requests == 3


def test_r07_sums_are_exact_while_two_workers_race_and_are_killed(own):
    chance = random.Random(7)
    workers = [in_a_process(roll_up_for_ever) for _ in range(2)]
    for _ in range(KILLS):
        stop_at = time.monotonic() + chance.uniform(0.02, 0.2)
        while time.monotonic() < stop_at:
            ship(own, *(some_record(chance) for _ in range(chance.randrange(1, 8))))
        victim = chance.randrange(2)
        os.kill(workers[victim], signal.SIGKILL)
        assert os.WTERMSIG(wait_for(workers[victim])) == signal.SIGKILL
        workers[victim] = in_a_process(roll_up_for_ever)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
        wait_for(worker)

    sum_up()

    assert all_agree()


def test_f51_a_task_that_is_delivered_to_many_at_once_counts_once(own):
    ship(own, *(record_on(MONDAY, key_id=number % 3) for number in range(30)))

    in_threads(5, sum_up)

    assert all_agree()


def test_r03_at_any_moment_the_sums_are_those_of_the_transactions_below_the_mark(own):
    chance, done = random.Random(3), threading.Event()

    def work():
        while not done.is_set():
            rollups.roll_up()

    worker = threading.Thread(target=in_threads, args=(2, work))
    worker.start()
    try:
        for _ in range(trials(15, 200)):
            ship(own, *(some_record(chance) for _ in range(5)))
            assert counted_in_one_snapshot()
    finally:
        done.set()
        worker.join()
    sum_up()
    assert all_agree()


def counted_in_one_snapshot():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT COALESCE(SUM(requests), 0) FROM usage_hourlyusage), "
            "(SELECT COALESCE(SUM(requests), 0) FROM usage_dailyusage), "
            "(SELECT COUNT(*) FROM usage_usagerecord, usage_rollupmark "
            " WHERE x < upto::text::xid8)"
        )
        hourly, daily, logged = cursor.fetchone()
    assert hourly == daily == logged
    return True


def test_r08_what_is_committed_late_is_counted_once(own):
    inserted, may_commit = threading.Event(), threading.Event()

    def write_slowly():
        with transaction.atomic():
            ship(own, record_on(MONDAY))
            inserted.set()
            may_commit.wait(20)
        connection.close()

    writer = threading.Thread(target=write_slowly)
    writer.start()
    inserted.wait(20)
    UsageRecord.objects.create(**columns_of(record_on(MONDAY, key_id=2)))
    before = rollups.roll_up()
    may_commit.set()
    writer.join()

    assert (before, sum_up(), sum_up()) == (0, 2, 0)
    assert all_agree()


def columns_of(record):
    others = {"tries", "decision"}  # rows of other tables
    own = {name: getattr(record, name) for name in set(record.__slots__) - others}
    return own | {"day": record.started_at.date()}


def test_r08_a_request_of_two_days_ago_is_counted_in_its_own_hour_once(own):
    ship(own, make_record())
    sum_up()
    late = datetime.now(UTC) - timedelta(hours=48)
    ship(own, make_record(request_id=UUID(int=lowest_at(late).int | uuid7().int & (1 << 62) - 1)))

    sum_up()
    sum_up()

    hours = HourlyUsage.objects.order_by("hour").values_list("hour", "requests")
    assert hours[0] == (late.replace(minute=0, second=0, microsecond=0), 1)
    assert all_agree()


def test_a_worker_that_finds_another_at_work_leaves_it_to_it(own):
    ship(own, record_on(MONDAY))
    RollupMark.objects.create(pk=1)

    with transaction.atomic():
        RollupMark.objects.select_for_update().get()
        written = []
        in_threads(1, lambda: written.append(rollups.roll_up()))

    assert written == [0]
    assert sum_up() == 1


@pytest.fixture
def restored(own):
    """A log that another cluster wrote, whose transactions were far ahead of those here."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE usage_usagerecord ALTER x SET DEFAULT '900000000'")
        ship(own, record_on(MONDAY), record_on(MONDAY))
        cursor.execute("ALTER TABLE usage_usagerecord ALTER x SET DEFAULT pg_current_xact_id()")
    rollups.roll_up()
    return own


@pytest.mark.parametrize("mark", [{"upto": 900_000_001}, {"cluster": "1"}])
def test_s69_a_mark_of_another_cluster_is_noticed_and_all_is_summed_anew(restored, mark):
    RollupMark.objects.update(**mark)
    ship(restored, record_on(MONDAY))

    sum_up()

    assert all_agree()
    assert HourlyUsage.objects.get().requests == 3


def test_s69_transactions_of_another_cluster_are_not_counted_when_ours_get_there(restored):
    RollupMark.objects.update(cluster="1")

    sum_up()

    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT x::text FROM usage_usagerecord")
        assert cursor.fetchall() == [(str(transaction_window.SETTLED),)]


def test_s69_what_is_written_after_the_rebuild_is_added_to_it(restored):
    RollupMark.objects.update(cluster="1")
    sum_up()
    ship(restored, record_on(MONDAY))

    sum_up()

    assert HourlyUsage.objects.get().requests == 3


@pytest.fixture
def forgotten(own):
    """A transaction of somebody who forgot it, before a mark that has stood for two minutes."""
    has_begun, may_end, begun = threading.Event(), threading.Event(), []

    def forget():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()::text::bigint")
            begun.extend(cursor.fetchone())
            has_begun.set()
            may_end.wait(30)
        connection.close()

    thread = threading.Thread(target=forget)
    thread.start()
    has_begun.wait(30)
    ship(own, record_on(MONDAY))
    eventually(lambda: rolled_up_to() == begun[0], "transactions of neighbors to end")
    RollupMark.objects.update(at=timezone.now() - timedelta(minutes=2))
    yield
    may_end.set()
    thread.join()


def rolled_up_to():
    rollups.roll_up()
    return RollupMark.objects.get().upto


def test_a_forgotten_transaction_is_told_with_its_process(forgotten):
    assert rollups.roll_up() == 0
    assert "has a transaction open" in rollups.trouble()


def test_a_mark_that_moves_is_no_trouble(own):
    ship(own, record_on(MONDAY))
    sum_up()

    assert rollups.trouble() == ""


def test_roll_ups_that_nobody_makes_are_told(own):
    sum_up()
    ship(own, record_on(MONDAY))
    RollupMark.objects.update(at=timezone.now() - timedelta(minutes=10))

    # While a neighbor has a transaction open, that is what is told.
    eventually(lambda: "Is the worker running?" in rollups.trouble(), "it to be told")
