"""What an upstream key may be used for, as its row says it."""

import pytest
from django.utils import timezone

from registry.key_terms import terms_of
from registry.models import UpstreamKey


@pytest.mark.parametrize(
    ("told", "reason"), [("", "key_refused"), ("key_taken_out", "key_taken_out")]
)
def test_a_key_that_is_out_has_a_reason(told, reason):
    key = UpstreamKey(out_since=timezone.now(), out_reason=told)

    assert terms_of(key).out_reason == reason


def test_a_key_that_was_put_back_has_none():
    assert terms_of(UpstreamKey(out_reason="key_refused")).out_reason == ""


@pytest.mark.parametrize(
    "fields",
    [{"requests_per_minute": 1}, {"tokens_per_minute": 1}, {"concurrency": 1}, {"budget": 0}],
)
def test_whatever_a_key_has_to_keep_to_is_counted(fields):
    assert terms_of(UpstreamKey(**fields)).is_counted


def test_a_key_without_limits_is_not_counted():
    assert not terms_of(UpstreamKey()).is_counted
