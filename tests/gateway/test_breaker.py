import pytest

from gateway import breaker, errors
from gateway.breaker import DEFAULT_COOLING_S, FAILURES_TO_OPEN, LONGEST_COOLING_S, OPEN_FOR_S
from registry import health
from tests.gateway.targets import make_target

FAILURE = errors.UpstreamUnavailable("It failed.")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breakers(clock):
    return breaker.Breakers(clock)


@pytest.fixture
def target():
    return make_target()


@pytest.fixture
def reports(monkeypatch):
    """What the admin is told, in order."""
    told = []
    monkeypatch.setattr(
        health, "report", lambda target, name, state, reason, at: told.append((state, reason))
    )
    return told


def fail(breakers, target, times, error=FAILURE):
    for _ in range(times):
        breakers.failed(target, error)


def limited(seconds):
    return errors.UpstreamRateLimited("Slow down.", retry_after=seconds)


def test_a_target_that_never_failed_is_in(breakers, target):
    assert not breakers.out(target)


def test_one_failure_less_than_needed_leaves_it_in(breakers, target):
    fail(breakers, target, FAILURES_TO_OPEN - 1)

    assert not breakers.out(target)


def test_failures_in_a_row_take_it_out(breakers, target):
    fail(breakers, target, FAILURES_TO_OPEN)

    assert breakers.out(target)


def test_a_success_between_failures_begins_the_count_anew(breakers, target):
    fail(breakers, target, FAILURES_TO_OPEN - 1)
    breakers.succeeded(target)
    fail(breakers, target, FAILURES_TO_OPEN - 1)

    assert not breakers.out(target)


def test_other_targets_stay_in(breakers, target):
    fail(breakers, target, FAILURES_TO_OPEN)

    assert not breakers.out(make_target(1, key_id=5))


def test_it_stays_out_until_the_pause_is_over(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)

    clock.now += OPEN_FOR_S - 0.001
    assert breakers.out(target)
    clock.now += 0.002
    assert not breakers.out(target)


def test_half_open_lets_one_probe_through(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S

    assert not breakers.out(target)
    breakers.begin(target)
    assert breakers.out(target).reason == "probing"


def test_a_probe_that_never_ends_makes_room_for_another(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S
    breakers.begin(target)
    clock.now += OPEN_FOR_S

    assert not breakers.out(target)


def test_a_probe_that_fails_opens_it_again_at_once(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S
    breakers.begin(target)
    fail(breakers, target, 1)

    assert breakers.out(target)
    clock.now += OPEN_FOR_S
    assert not breakers.out(target)


def test_a_probe_that_succeeds_closes_it(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S
    breakers.begin(target)
    breakers.succeeded(target)

    assert not breakers.out(target)
    breakers.begin(target)
    assert not breakers.out(target)


def test_the_admin_learns_of_every_transition(breakers, clock, target, reports):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S
    breakers.begin(target)
    breakers.succeeded(target)

    assert reports == [("open", "upstream_unavailable"), ("half_open", "probe"), ("closed", "")]


def test_a_rate_limited_target_cools_exactly_as_long_as_it_said(breakers, clock, target):
    breakers.failed(target, limited(30))

    clock.now += 29.999
    assert breakers.out(target)
    clock.now += 0.002
    assert not breakers.out(target)


def test_one_that_does_not_say_cools_for_a_while(breakers, clock, target):
    breakers.failed(target, limited(None))

    assert breakers.out(target)
    clock.now += DEFAULT_COOLING_S
    assert not breakers.out(target)


def test_an_absurd_pause_is_bounded(breakers, clock, target):
    breakers.failed(target, limited(10**9))
    clock.now += LONGEST_COOLING_S

    assert not breakers.out(target)


def test_a_longer_pause_is_never_shortened(breakers, clock, target):
    breakers.failed(target, limited(60))
    breakers.failed(target, limited(1))
    clock.now += 59

    assert breakers.out(target)


def test_a_later_and_longer_pause_wins(breakers, clock, target):
    breakers.failed(target, limited(1))
    breakers.failed(target, limited(60))
    clock.now += 59

    assert breakers.out(target)


def test_an_answer_that_was_under_way_does_not_end_the_pause(breakers, target):
    breakers.failed(target, limited(60))
    breakers.succeeded(target)

    assert breakers.out(target)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_the_clients_own_faults_never_count(breakers, target, status):
    rejected = errors.UpstreamRejected("No.", status=status, code=None, param=None)

    fail(breakers, target, 50, rejected)

    assert not breakers.out(target)


def test_a_success_without_any_failure_changes_nothing(breakers, target, reports):
    breakers.succeeded(target)

    assert reports == []


def test_a_target_that_asked_to_wait_says_for_how_long(clock, breakers, target):
    breakers.failed(target, limited(30))
    clock.now += 10

    assert breakers.out(target).for_s == 20


def test_a_rate_limit_without_a_time_asks_for_no_wait(breakers, target):
    breakers.failed(target, limited(None))

    assert breakers.out(target).for_s == 0
