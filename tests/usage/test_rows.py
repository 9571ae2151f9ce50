"""Rows from spooled records: hostile values are made to fit."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import orjson
import pytest

from lib.ids import lowest_at, made_at, uuid7
from tests.usage.spools import make_record
from usage import frames
from usage.models import UsageRecord
from usage.records import Record, encoded
from usage.rows import COLUMNS, MOST_NANO, MOST_TOKENS, Refused, row_of

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def row_with(**fields):
    """The row of a record with these fields, after a way through the spool, as a dictionary."""
    row = row_of(encoded(frames.CLOSE, make_record(**fields)), NOW)
    return dict(zip(COLUMNS, row.values, strict=True))


def test_every_column_is_filled():
    assert set(COLUMNS) == {field.attname for field in UsageRecord._meta.concrete_fields}


def test_what_was_recorded_is_what_the_row_says():
    record = make_record(model_asked="큰 모형/7b", user_id=None, cost_nano=None)

    row = dict(zip(COLUMNS, row_of(encoded(frames.CLOSE, record), NOW).values, strict=True))

    assert row.pop("day") == made_at(record.request_id).date()
    assert row.pop("recorded_at") == NOW
    assert row == {name: getattr(record, name) for name in row}


def test_the_day_is_that_of_the_request_id():
    last_moment = datetime(2026, 2, 28, 23, 59, 59, 999_000, tzinfo=UTC)

    assert row_with(request_id=lowest_at(last_moment))["day"] == date(2026, 2, 28)


def test_the_lowest_id_of_a_moment_is_above_all_earlier_ones():
    moment = datetime(2026, 2, 28, 12, 0, 0, 5000, tzinfo=UTC)

    assert made_at(lowest_at(moment)) == moment
    assert lowest_at(moment - timedelta(milliseconds=1)).int | (1 << 80) - 1 < lowest_at(moment).int


@pytest.mark.parametrize(
    ("field", "hostile", "fits"),
    [
        ("model_asked", "a\x00b", "a\ufffdb"),
        ("model_asked", "a\ud800b", "a?b"),
        ("model_asked", "x" * 1_000_000, "x" * 200),
        ("client_request_id", "x" * 65, "x" * 64),
        ("model_asked", 7, "7"),
        ("input_tokens", 2**70, MOST_TOKENS),
        ("input_tokens", 2**40, MOST_TOKENS),
        ("input_tokens", -(2**70), 0),
        ("input_tokens", -1, 0),
        ("output_tokens", 2.7, 2),
        ("cost_nano", 2**62, MOST_NANO),
        ("attempts", 40_000, 32_767),
        ("total_ms", 2**40, 2**31 - 1),
        ("status", True, 1),
    ],
)
def test_a_hostile_value_is_made_to_fit(field, hostile, fits):
    assert row_with(**{field: hostile})[field] == fits


def test_text_that_is_not_printable_but_harmless_is_kept():
    assert row_with(key_name="tab\tand\nnewline")["key_name"] == "tab\tand\nnewline"


@pytest.mark.parametrize(
    "payload",
    [
        b"C",
        b"C[]",
        b"C{}",
        b'C{"request_id": "no id"}',
        encoded(frames.CLOSE, make_record(request_id=UUID(int=2**128 - 1), started_at=NOW)),
        encoded(frames.CLOSE, make_record(status="bad")),
        encoded(frames.CLOSE, make_record(started_at="yesterday")),
    ],
)
def test_what_makes_no_row_is_refused_with_a_reason(payload):
    refused = row_of(payload, NOW)

    assert isinstance(refused, Refused)
    assert refused.raw == payload
    assert "Error" in refused.reason


def test_a_record_of_an_older_version_gets_defaults():
    content = {
        "request_id": uuid7(), "started_at": NOW, "key_id": 1, "key_name": "a", "team_id": 1,
        "team_name": "b", "operation": "chat", "streamed": False, "model_asked": "small",
    }  # fmt: skip

    row = row_of(b"C" + orjson.dumps(content), NOW)

    assert dict(zip(COLUMNS, row.values, strict=True))["usage_source"] == "none"


def test_a_record_that_was_never_closed_says_interrupted():
    record = Record(
        request_id=uuid7(), started_at=NOW, key_id=1, key_name="a", team_id=1, team_name="b",
        operation="chat", streamed=False, model_asked="small",
    )  # fmt: skip

    assert (record.outcome, record.end_reason, record.status) == ("interrupted", "interrupted", 0)
