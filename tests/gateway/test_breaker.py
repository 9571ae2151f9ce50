import pytest

from gateway import breaker, errors
from gateway.breaker import FAILURES_TO_OPEN, OPEN_FOR_S
from gateway.recovery import DEFAULT_PAUSE_S, LONGEST_PAUSE_S
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
    monkeypatch.setattr(health, "report", lambda *news: told.append(news[2:4]))
    return told


def fail(breakers, target, times, error=FAILURE):
    for _ in range(times):
        breakers.failed(target, error, breakers.begin(target))


def succeed(breakers, target, times=1):
    for _ in range(times):
        breakers.succeeded(target, breakers.begin(target))


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
    succeed(breakers, target)
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


def test_r23_one_probe_is_let_through_however_long_it_takes(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S
    first, second = breakers.begin(target), breakers.begin(target)

    clock.now += 1000

    assert (first.is_probe, second.is_probe) == (True, False)
    assert breakers.out(target).reason == "probing"


def test_a_probe_that_says_nothing_makes_room_for_another(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S
    breakers.gave_up(target, breakers.begin(target))

    assert not breakers.out(target)
    assert breakers.begin(target).is_probe


def test_the_clients_own_fault_ends_a_probe_without_a_verdict(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S
    rejected = errors.UpstreamRejected("No.", status=400, code=None, param=None)

    fail(breakers, target, 1, rejected)

    assert breakers.begin(target).is_probe


def test_who_is_no_probe_does_not_end_one(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S
    breakers.begin(target)

    breakers.gave_up(target, breakers.begin(target))

    assert breakers.out(target).reason == "probing"


def test_a_probe_that_fails_opens_it_again_at_once(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S
    fail(breakers, target, 1)

    assert breakers.out(target).reason == "breaker_open"
    clock.now += OPEN_FOR_S
    assert not breakers.out(target)


def test_what_began_before_it_opened_prolongs_no_pause(breakers, clock, target):
    begun = breakers.begin(target)
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += 5

    breakers.failed(target, FAILURE, begun)

    assert breakers.out(target).for_s == OPEN_FOR_S - 5


def test_a_probe_that_succeeds_closes_it(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S
    succeed(breakers, target)

    assert not breakers.out(target)
    breakers.begin(target)
    assert not breakers.out(target)


def test_the_admin_learns_of_every_transition(breakers, clock, target, reports):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S
    succeed(breakers, target)

    assert reports == [("open", "upstream_unavailable"), ("half_open", "probe"), ("closed", "")]


def test_a_rate_limited_target_cools_exactly_as_long_as_it_said(breakers, clock, target):
    fail(breakers, target, 1, limited(30))

    clock.now += 29.999
    assert breakers.out(target)
    clock.now += 0.002
    assert not breakers.out(target)


def test_one_that_does_not_say_cools_for_a_while(breakers, clock, target):
    fail(breakers, target, 1, limited(None))

    assert breakers.out(target)
    clock.now += DEFAULT_PAUSE_S
    assert not breakers.out(target)


def test_an_absurd_pause_is_bounded(breakers, clock, target):
    fail(breakers, target, 1, limited(10**9))
    clock.now += LONGEST_PAUSE_S

    assert not breakers.out(target)


def test_a_longer_pause_is_never_shortened(breakers, clock, target):
    fail(breakers, target, 1, limited(60))
    fail(breakers, target, 1, limited(1))
    clock.now += 59

    assert breakers.out(target)


def test_a_later_and_longer_pause_wins(breakers, clock, target):
    fail(breakers, target, 1, limited(1))
    fail(breakers, target, 1, limited(60))
    clock.now += 59

    assert breakers.out(target)


def test_an_answer_that_was_under_way_does_not_end_the_pause(breakers, target):
    fail(breakers, target, 1, limited(60))
    succeed(breakers, target)

    assert breakers.out(target)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_the_clients_own_faults_never_count(breakers, target, status):
    rejected = errors.UpstreamRejected("No.", status=status, code=None, param=None)

    fail(breakers, target, 50, rejected)

    assert not breakers.out(target)


def test_a_success_without_any_failure_changes_nothing(breakers, target, reports):
    succeed(breakers, target)

    assert reports == []


def test_a_target_that_asked_to_wait_says_for_how_long(clock, breakers, target):
    fail(breakers, target, 1, limited(30))
    clock.now += 10

    assert breakers.out(target).for_s == 20


def test_a_rate_limit_without_a_time_may_be_the_last_resort(breakers, target):
    fail(breakers, target, 1, limited(None))

    assert breakers.out(target) == ("breaker_open", DEFAULT_PAUSE_S, False)


def test_a_failure_with_a_time_is_left_alone_until_then(breakers, clock, target):
    fail(breakers, target, 1, errors.UpstreamUnavailable("It failed.", retry_after=30))
    clock.now += 29

    assert breakers.out(target) == ("asked_to_wait", 1, True)


def mixed(breakers, target, *, failures, of):
    """Calls of which so many fail, never five in a row."""
    for number in range(of):
        is_bad = number * failures // of != (number + 1) * failures // of
        fail(breakers, target, 1) if is_bad else succeed(breakers, target)


def test_r23_half_of_twenty_calls_in_ten_seconds_take_it_out(breakers, target):
    mixed(breakers, target, failures=10, of=20)

    assert breakers.out(target).reason == "breaker_open"


def test_r23_less_than_half_leaves_it_in(breakers, target):
    mixed(breakers, target, failures=19, of=40)

    assert not breakers.out(target)


def test_r23_fewer_than_twenty_calls_are_no_sample(breakers, target):
    mixed(breakers, target, failures=10, of=19)

    assert not breakers.out(target)


def test_r23_calls_that_are_older_than_ten_seconds_do_not_count(breakers, clock, target):
    mixed(breakers, target, failures=10, of=19)
    clock.now += 11
    mixed(breakers, target, failures=1, of=2)

    assert not breakers.out(target)


def test_r23_every_transition_is_as_it_should_be(breakers, clock, target, reports):
    """The exact trace of one bad hour: open, two probes that fail, one that succeeds."""
    seen = []

    def look(seconds=0.0):
        clock.now += seconds
        out = breakers.out(target)
        seen.append(out.reason if out else "in")

    fail(breakers, target, FAILURES_TO_OPEN - 1)
    look()
    fail(breakers, target, 1)
    look()
    look(OPEN_FOR_S - 0.01)
    for _ in range(2):
        look(0.01)
        probe = breakers.begin(target)
        look()
        breakers.failed(target, FAILURE, probe)
        look(OPEN_FOR_S - 0.01)
    look(0.01)
    probe = breakers.begin(target)
    breakers.succeeded(target, probe)
    look()
    fail(breakers, target, FAILURES_TO_OPEN - 1)
    look()

    half_open = ["in", "probing", "breaker_open"]
    assert seen == ["in", "breaker_open", "breaker_open", *half_open, *half_open, "in", "in", "in"]
    opened, probed = ("open", "upstream_unavailable"), ("half_open", "probe")
    assert reports == [opened, probed, opened, probed, opened, probed, ("closed", "")]


def test_staff_end_a_pause_that_began_before(breakers, clock, target):
    fail(breakers, target, 1, limited(600))
    clock.now += 1

    breakers.try_again(target, 0.5)

    assert not breakers.out(target)
    assert breakers.begin(target).is_probe


def test_staff_end_no_pause_that_began_later(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)

    breakers.try_again(target, 1)

    assert breakers.out(target).reason == "breaker_open"


def test_a_rate_limit_without_a_time_shortens_no_open_breaker(breakers, target):
    fail(breakers, target, FAILURES_TO_OPEN)
    fail(breakers, target, 1, limited(None))

    assert breakers.out(target).for_s == OPEN_FOR_S


@pytest.mark.parametrize("error", [limited(0), errors.UpstreamUnavailable("x", retry_after=0)])
def test_f08_a_pause_of_no_length_excuses_no_failures(breakers, target, error):
    fail(breakers, target, FAILURES_TO_OPEN, error)

    assert breakers.out(target) == ("breaker_open", OPEN_FOR_S, False)


def test_r23_a_probe_that_fails_with_a_pause_of_no_length_is_over(breakers, clock, target):
    fail(breakers, target, FAILURES_TO_OPEN)
    clock.now += OPEN_FOR_S
    fail(breakers, target, 1, errors.UpstreamUnavailable("x", retry_after=0))
    clock.now += OPEN_FOR_S

    assert breakers.out(target) is None


@pytest.mark.parametrize("kind", [errors.UpstreamModelMissing, errors.UpstreamForbidden])
def test_a_name_that_a_client_made_up_takes_no_wildcard_out(breakers, kind):
    named_by_client = make_target(is_named_by_client=True)
    fail(breakers, named_by_client, FAILURES_TO_OPEN, kind("x"))
    fail(breakers, make_target(2), FAILURES_TO_OPEN, kind("x"))

    assert breakers.out(named_by_client) is None
    assert breakers.out(make_target(2)).reason == "breaker_open"


def test_a_target_is_failing_until_it_answers(breakers, target):
    before = breakers.is_failing(target)
    fail(breakers, target, 1)
    meanwhile = breakers.is_failing(target)
    succeed(breakers, target)

    assert (before, meanwhile, breakers.is_failing(target)) == (False, True, False)
