"""The shortcut for quiet times overlooks nothing that is known against a target."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from gateway import errors, standing
from gateway.breaker import FAILURES_TO_OPEN, Breakers
from gateway.keys import Keys
from gateway.standing import Now
from gateway.throttle import LEAST, Throttle
from registry import health
from registry.interventions import DRAINED, NONE, Order, Orders
from registry.key_terms import KeyTerms
from tests.gateway.targets import make_target

WELL, SICK = make_target(1), make_target(2, key_id=2)
FAILURE = errors.UpstreamUnavailable("It failed.")


@pytest.fixture(autouse=True)
def state(monkeypatch):
    """What is known of targets: nothing yet."""
    known = SimpleNamespace(breakers=Breakers(), keys=Keys(), throttle=Throttle(), orders=NONE)
    for name in ("breakers", "keys", "throttle"):
        monkeypatch.setattr(standing, name, getattr(known, name))
    monkeypatch.setattr(standing.snapshot, "current", lambda: known)
    monkeypatch.setattr(health, "_elsewhere", {})
    monkeypatch.setattr(health, "report", lambda *_: None)
    return known


def a_breaker_opens(known, _):
    for _ in range(FAILURES_TO_OPEN):
        known.breakers.failed(SICK, FAILURE, known.breakers.begin(SICK))


def a_provider_asks_for_a_pause(known, _):
    error = errors.UpstreamRateLimited("Slow down.", retry_after=30)
    known.breakers.failed(SICK, error, known.breakers.begin(SICK))


def a_key_is_refused(known, _):
    known.keys.failed(SICK, errors.UpstreamAuthFailed("It was refused."))


def most_is_refused(known, _):
    for _ in range(LEAST * 100):
        known.throttle.wanted(SICK)


def staff_drain_it(known, _):
    until = datetime.now(UTC) + timedelta(minutes=1)
    known.orders = Orders({SICK.route_id: (Order(DRAINED, until),)}, {})


def another_instance_reports_it(_, monkeypatch):
    now = datetime.now(UTC)
    until = now + timedelta(minutes=1)
    report = health.Report("2/2", "provider-2", "open", "upstream_unavailable", now, now, until)
    monkeypatch.setattr(health, "_elsewhere", {SICK.id: report})


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (a_breaker_opens, "breaker_open"),
        (a_provider_asks_for_a_pause, "rate_limited"),
        (a_key_is_refused, "key_refused"),
        (most_is_refused, "throttled"),
        (staff_drain_it, DRAINED),
        (another_instance_reports_it, "breaker_open"),
    ],
)
def test_whatever_is_known_against_a_target_is_told(happens, reason, state, monkeypatch):
    monkeypatch.setattr(standing.random, "random", lambda: 0.5)
    assert Now(lambda _: None).outs([WELL, SICK]) == []

    happens(state, monkeypatch)
    now = Now(lambda _: None)

    assert [(target, out.reason) for target, out in now.outs([WELL, SICK])] == [(SICK, reason)]
    assert now.out(SICK).reason == reason
    assert now.out(WELL) is None


def test_a_key_that_its_row_says_is_out_is_told_in_quiet_times_too():
    taken_out = make_target(3, key_id=3, terms=KeyTerms(out_reason="taken_out"))
    now = Now(lambda _: None)

    assert [out.reason for _, out in now.outs([taken_out])] == ["taken_out"]
    assert now.out(taken_out).reason == "taken_out"


def test_a_breaker_that_has_closed_is_quiet_again(state):
    a_breaker_opens(state, None)
    assert not state.breakers.are_quiet

    state.breakers.try_again(SICK, since_s=-1)
    state.breakers.succeeded(SICK, state.breakers.begin(SICK))

    assert state.breakers.are_quiet
