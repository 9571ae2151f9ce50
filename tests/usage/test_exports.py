"""CSV of usage records: exact, in constant memory, and harmless in a spreadsheet."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db.models import Sum
from django.utils import timezone

from tests.usage.spools import make_adjustment, make_record
from usage import exports, tables
from usage.models import Export, UsageAdjustment, UsageRecord

pytestmark = pytest.mark.django_db


def csv_of(records=None):
    chunks = exports.csv_of(UsageRecord.objects.all() if records is None else records, Export())
    return b"".join(chunks)


def rows_of(content):
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def stored(own, **fields):
    own.record(record := make_record(**fields))
    own.ship()
    return record


def cell(own, name, **fields):
    stored(own, **fields)
    (row,) = rows_of(csv_of())
    return row[name]


def test_the_columns_are_fixed():
    assert csv_of() == ",".join(exports.COLUMNS).encode() + b"\r\n"


def test_a_row_has_every_column_of_the_record(own, monkeypatch):
    started = datetime(2026, 11, 21, 8, 30, 15, 250_000, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: started)
    record = stored(
        own,
        started_at=started,
        user_id=7,
        user_name="alice",
        first_token_ms=120,
        price_id=3,
        client_request_id="mine",
        trace_id="ab" * 16,
        revision=12,
    )

    (row,) = rows_of(csv_of())

    recorded = UsageRecord.objects.get()
    others = {"tries", "decision"}  # rows of other tables
    expected = {name: shown(record, name) for name in set(record.__slots__) - others}
    expected |= {"streamed": "true", "started_at": "2026-11-21T08:30:15.250Z"}
    expected |= {"day": str(recorded.day), "cost_usd": "0.000020000", "kind": "request"}
    expected |= {"recorded_at": row["recorded_at"], "reason": "", "note": ""}
    assert row == expected


def shown(record, name):
    value = getattr(record, name)
    return "" if value is None else str(value)


def test_the_newest_is_first(own):
    ids = [str(stored(own).request_id) for _ in range(5)]

    assert [row["request_id"] for row in rows_of(csv_of())] == sorted(ids, reverse=True)


@pytest.mark.parametrize("nano", [0, 1, 999_999_999, 1_000_000_000, 9_007_199_254_741])
def test_the_cost_in_dollars_is_exact(own, nano):
    stored(own, cost_nano=nano)

    (row,) = rows_of(csv_of())

    assert Decimal(row["cost_usd"]) * 10**9 == nano
    assert len(row["cost_usd"].partition(".")[2]) == 9
    assert row["cost_nano"] == str(nano)


def test_an_unknown_cost_is_empty(own):
    stored(own, cost_nano=None)

    (row,) = rows_of(csv_of())

    assert (row["cost_usd"], row["cost_nano"]) == ("", "")


@pytest.mark.parametrize("sign", list("=+-@\t \uff1d\uff0b\uff0d\uff20"))
def test_a_formula_gets_an_apostrophe(own, sign):
    assert cell(own, "model_asked", model_asked=f"{sign}cmd|'/C calc'!A0") == (
        f"'{sign}cmd|'/C calc'!A0"
    )


@pytest.mark.parametrize("sign", ["\r", "\n", "\r\n"])
def test_a_formula_after_a_newline_gets_an_apostrophe(own, sign):
    assert cell(own, "user_name", user_name=f"{sign}=1").startswith("' ")


@pytest.mark.parametrize("name", ["gpt-4o", "모형", "模型", "a=b", "'quoted'", 'say "hi", x', "$1"])
def test_other_text_stays_as_it_is(own, name):
    assert cell(own, "model_asked", model_asked=name) == name


def test_text_stays_on_one_line(own):
    assert cell(own, "key_name", key_name="two\r\nlines\nand more") == "two  lines and more"


def test_a_correction_is_a_row_with_signed_differences(own):
    record = stored(own)
    make_adjustment(record, cost_nano=-1_500_000_001, output_tokens=-3, note="=a\nnote")

    _, row = rows_of(csv_of())

    assert (row["kind"], row["reason"], row["note"]) == ("adjustment", "rerate", "'=a note")
    assert (row["cost_usd"], row["cost_nano"]) == ("-1.500000001", "-1500000001")
    assert (row["output_tokens"], row["input_tokens"], row["outcome"]) == ("-3", "0", "")
    assert (row["request_id"], row["model_served"]) == (str(record.request_id), "small")


def test_the_sum_of_an_export_is_what_the_ledger_says(own):
    for number in range(9):
        record = stored(own, cost_nano=10**9 + number)
        make_adjustment(record, cost_nano=number - 4)

    total = sum(Decimal(row["cost_usd"]) for row in rows_of(csv_of()))

    charged = UsageRecord.objects.totals()["cost_nano"]
    corrected = UsageAdjustment.objects.aggregate(sum=Sum("cost_nano"))["sum"]
    assert total * 10**9 == charged + corrected


def test_only_corrections_of_what_is_asked_for_are_exported(own):
    make_adjustment(stored(own, outcome="upstream_timeout"))
    make_adjustment(stored(own))

    rows = rows_of(csv_of(UsageRecord.objects.failed()))

    assert [row["kind"] for row in rows] == ["request", "adjustment"]


def test_lines_end_as_the_standard_says(own):
    stored(own, key_name="a\nb", user_name='"quoted"')

    content = csv_of()

    assert content.count(b"\r\n") == content.count(b"\n") == 2


def test_only_the_records_that_are_asked_for_are_exported(own):
    stored(own, model_served='it\'s 100% \\ "mine"')
    stored(own)

    rows = rows_of(csv_of(UsageRecord.objects.filter(model_served='it\'s 100% \\ "mine"')))

    assert [row["model_served"] for row in rows] == ['it\'s 100% \\ "mine"']


def test_filters_that_exclude_each_other_leave_the_header_alone():
    assert csv_of(UsageRecord.objects.filter(pk__in=[])).count(b"\n") == 1


def test_many_rows_come_in_pieces(own, monkeypatch):
    monkeypatch.setattr(tables, "ROWS_AT_A_TIME", 10)
    own.record(*(make_record() for _ in range(35)))
    own.ship()

    chunks = list(exports.csv_of(UsageRecord.objects.all(), Export()))

    assert len(chunks) > 3
    assert len(rows_of(b"".join(chunks))) == 35


def test_an_export_notes_how_many_rows_it_had(own):
    own.record(*(make_record() for _ in range(3)))
    own.ship()

    csv_of()

    export = Export.objects.get()
    assert (export.state, export.rows) == ("done", 3)
    assert export.ended_at <= timezone.now()


def test_an_export_that_is_broken_off_notes_it(own):
    stored(own)
    chunks = exports.csv_of(UsageRecord.objects.all(), Export())
    next(chunks)

    assert Export.objects.get().state == "running"
    chunks.close()

    assert Export.objects.get().state == "failed"


def test_the_file_name_says_what_is_in_it():
    name = exports.file_name({"day_from": "2026-11-01", "model": 'a/"b"\r\n'})

    assert name.startswith("usage-v2_20")
    assert name.endswith("Z_day_from-2026-11-01_model-a--b---.csv")


def test_the_file_name_is_not_too_long():
    assert len(exports.file_name({"q": "x" * 1000})) <= 200
