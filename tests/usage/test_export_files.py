"""Files of exports: equal for equal questions, made once, in fixed memory, by whoever lives."""

import csv
import hashlib
import io
import itertools
import json
import resource
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import Sum
from django.utils import timezone
from pyarrow import parquet

from tests.usage.ledger import DAY, NOON, correct, log, sum_up
from usage import as_of, export_files, exports, reports, retention, typed_rows
from usage.models import AsOf, Export, UsageAdjustment, UsageRecord
from usage.report_questions import Question

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _folder(settings, tmp_path):
    settings.DATA_DIR = tmp_path


@pytest.fixture
def three_requests():
    log()
    correct(log(tags="a"), cost_nano=-1)
    log(NOON + timedelta(hours=30))
    sum_up()


def order_report(*dimensions, format="csv", at=None):
    question = Question(dimensions or ("team",), DAY, DAY)
    moment = as_of.settle(at)
    return export_files.order(
        kind="report", format=format, question=question.as_json(), as_of=moment.at
    )


def order_requests(format="csv", **filters):
    return export_files.order(
        kind="requests", format=format, filters=filters, as_of=as_of.settle().at
    )


def made(export):
    export_files.make(export.pk)
    export.refresh_from_db()
    assert (export.state, export.trouble) == ("done", "")
    return (exports.folder() / export.file).read_bytes()


def manifest(export):
    return json.loads(exports.manifest_of(exports.folder() / export.file).read_text())


def csv_rows(content):
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


@pytest.mark.usefixtures("three_requests")
def test_a_report_becomes_a_csv_file():
    (row,) = csv_rows(made(order_report()))

    assert (row["team_name"], row["requests"], row["cost_nano"]) == ("research", "2", "1999999")
    assert (row["currency"], row["cost"]) == ("USD", "0.001999999")


@pytest.mark.usefixtures("three_requests")
def test_a_formula_in_a_report_gets_an_apostrophe():
    log(key_id=2, key_name="=1+1")
    sum_up()

    rows = csv_rows(made(order_report("key")))

    assert rows[0]["key_name"] == "'=1+1"


@pytest.mark.usefixtures("three_requests")
@pytest.mark.parametrize("format", ["csv", "parquet"])
@pytest.mark.parametrize("order", [order_report, order_requests])
def test_the_same_question_and_moment_give_the_same_bytes_after_late_rows(order, format):
    first = order(format=format)
    before = made(first)

    late = log(key_name="late")
    correct(late, cost_nano=5)
    correct(UsageRecord.objects.order_by("request_id")[0], cost_nano=9)
    sum_up()
    Export.objects.filter(pk=first.pk).update(state="waiting")

    assert made(first) == before
    assert made(order(format=format)) != before


@pytest.mark.usefixtures("three_requests")
@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_the_manifest_says_what_the_file_is(format):
    export = order_report(format=format)
    content = made(export)

    told = manifest(export)

    assert told["sha256"] == export.sha256 == hashlib.sha256(content).hexdigest()
    assert (told["rows"], told["size"]) == (export.rows, len(content)) == (1, len(content))
    assert told["as_of"] == export.as_of.isoformat()
    assert told["question"] == export.question
    assert told["totals"]["cost_nano"] == 1_999_999
    assert told["columns"][:2] == ["team_id", "team_name"]


@pytest.mark.usefixtures("three_requests")
def test_requests_in_parquet_add_up_to_the_ledger():
    made(export := order_requests("parquet"))

    table = parquet.read_table(exports.folder() / export.file)

    assert table.column_names == list(exports.COLUMNS)
    assert sum(table["cost_nano"].to_pylist()) == ledger_sum()
    assert sum(table["cost_usd"].to_pylist()) * 10**9 == ledger_sum()
    assert table["kind"].to_pylist() == ["request"] * 3 + ["adjustment"]


@pytest.mark.usefixtures("three_requests")
def test_requests_in_csv_add_up_to_the_ledger():
    rows = csv_rows(made(export := order_requests()))

    assert sum(int(row["cost_nano"]) for row in rows) == ledger_sum()
    assert sum(Decimal(row["cost_usd"]) for row in rows) * 10**9 == ledger_sum()
    assert export.rows == 4


def ledger_sum():
    charged = UsageRecord.objects.aggregate(sum=Sum("cost_nano"))["sum"]
    return charged + UsageAdjustment.objects.aggregate(sum=Sum("cost_nano"))["sum"]


@pytest.mark.usefixtures("three_requests")
def test_the_filters_of_the_list_are_obeyed():
    rows = csv_rows(made(order_requests(day_from=str(DAY + timedelta(days=1)))))

    assert len(rows) == 1


@pytest.mark.usefixtures("three_requests")
def test_an_unknown_filter_fails_visibly():
    export_files.make((export := order_requests(bogus="1")).pk)

    export.refresh_from_db()
    assert (export.state, export.file) == ("failed", "")
    assert export.trouble == "A file cannot be made with the filter 'bogus'."


@pytest.mark.usefixtures("three_requests")
def test_of_two_deliveries_of_a_task_one_makes_the_file():
    export = order_report()

    claims = [export_files.take(export.pk) for _ in range(2)]

    assert claims[1] is None
    assert claims[0].pk == export.pk


@pytest.mark.usefixtures("three_requests")
def test_an_export_that_was_made_is_not_made_again():
    made(export := order_report())
    changed = exports.folder() / export.file
    changed.write_bytes(b"")

    export_files.make(export.pk)

    assert changed.read_bytes() == b""


@pytest.mark.usefixtures("three_requests")
def test_what_a_dead_worker_left_is_taken_over():
    export = order_report()
    export_files.take(export.pk)
    assert export_files.next_one() is None

    silence(export)

    assert export_files.next_one() == export.pk
    assert csv_rows(made(export))


def silence(export):
    long_ago = timezone.now() - export_files.SILENT - timedelta(seconds=1)
    Export.objects.filter(pk=export.pk).update(heard_at=long_ago)


@pytest.mark.usefixtures("three_requests")
def test_a_worker_that_was_taken_for_dead_changes_nothing():
    export = order_report()
    sleeper = export_files.take(export.pk)
    silence(export)
    made(export)

    export_files._finish(sleeper, state="failed")

    export.refresh_from_db()
    assert export.state == "done"


@pytest.mark.usefixtures("three_requests")
def test_a_worker_that_was_taken_for_dead_stops(monkeypatch):
    monkeypatch.setattr(export_files, "EVERY_S", 0.01)
    export = order_report()
    sleeper = export_files.take(export.pk)
    Export.objects.filter(pk=export.pk).update(claim="of another")

    with export_files.Pulse(sleeper) as pulse, pytest.raises(export_files.Superseded):
        list(pulse.counted(itertools.count()))


@pytest.mark.usefixtures("three_requests")
def test_an_export_that_kills_its_workers_is_given_up():
    export = order_report()
    for _ in range(export_files.MOST_TRIES):
        assert export_files.next_one() == export.pk
        export_files.take(export.pk)
        silence(export)

    assert export_files.next_one() is None
    export.refresh_from_db()
    assert (export.state, export.trouble[:30]) == ("failed", "Each worker that began it died")


@pytest.mark.usefixtures("three_requests")
def test_the_oldest_export_comes_first():
    first, second = order_report(), order_report()

    assert export_files.next_one() == first.pk
    made(first)
    assert export_files.next_one() == second.pk


@pytest.mark.usefixtures("three_requests")
def test_nothing_but_the_file_and_its_manifest_is_left(tmp_path):
    made(export := order_report())

    names = {path.name for path in exports.folder().iterdir()}
    assert names == {export.file, f"{export.file}.manifest.json"}


@pytest.mark.usefixtures("three_requests")
def test_an_old_export_is_removed_with_its_files():
    made(order_report())
    Export.objects.update(ended_at=timezone.now() - timedelta(days=40))
    made(order_report())

    (receipt,) = retention.purge_exports()

    assert (receipt.kind, receipt.rows, Export.objects.count()) == ("exports", 1, 1)
    assert len(list(exports.folder().iterdir())) == 2


@pytest.mark.usefixtures("three_requests")
def test_the_moment_of_a_report_is_kept():
    made(export := order_report())

    assert AsOf.objects.get().at == export.as_of


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_large_export_needs_no_more_memory_than_a_small_one(format):
    multiply(log(NOON - timedelta(days=1)), 20_000)
    multiply(log(), 30_000)
    sum_up()
    export_files.make(order_requests(format, day_to=str(DAY - timedelta(days=1))).pk)
    before = peak()

    export_files.make((export := order_requests(format)).pk)

    export.refresh_from_db()
    assert (export.state, export.rows) == ("done", 50_002)
    assert peak() - before < 20 * 1024  # KiB; the rows would be more than ten times as much


def multiply(record, times):
    """So many copies of a record, made by the database."""
    columns = [f.column for f in UsageRecord._meta.concrete_fields if f.column != "request_id"]
    one_more = "WITH RECURSIVE n(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < %s)"
    id_ = "substr(request_id, 1, 24) || printf('%%08x', n)"
    if connection.vendor == "postgresql":
        id_ = "(substr(request_id::text, 1, 28) || lpad(to_hex(n), 8, '0'))::uuid"
    names = ", ".join(columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"{one_more} INSERT INTO usage_usagerecord (request_id, {names}) "
            f"SELECT {id_}, {names} FROM usage_usagerecord, n WHERE request_id = %s",
            [times, record._meta.pk.get_db_prep_value(record.pk, connection)],
        )


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_every_column_has_a_type():
    assert [name for name, _ in typed_rows.columns()] == list(exports.COLUMNS)
    assert reports.VERSION == 1
