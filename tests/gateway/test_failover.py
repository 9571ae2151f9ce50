import asyncio
import math

import pytest

from gateway import errors, failover
from gateway.failover import Attempts, first_success
from gateway.routing import Out
from tests.gateway.targets import make_target

UNAVAILABLE = errors.UpstreamUnavailable
REJECTED = errors.UpstreamRejected("Too long.", status=400, code=None, param=None)


class Upstreams:
    """Answers attempts by script: an error is raised, anything else is returned."""

    def __init__(self, *script, default=None):
        self.script = list(script)
        self.default = default
        self.calls = []
        self.limits = []

    async def __call__(self, target, limit_s):
        self.calls.append(target.route_id)
        self.limits.append(limit_s)
        outcome = self.script.pop(0) if self.script else self.default
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def allowed(most=3, seconds=60.0, least_s=0.0):
    deadline = asyncio.get_running_loop().time() + seconds
    return Attempts(most=most, deadline=deadline, least_s=least_s)


def targets(number, **fields):
    return [make_target(n, **fields) for n in range(1, number + 1)]


async def test_the_first_answer_is_returned():
    upstreams = Upstreams("hello")
    attempts = allowed()

    assert await first_success(targets(2), upstreams, attempts) == "hello"
    assert (upstreams.calls, attempts.made) == ([1], 1)


@pytest.mark.parametrize(
    "error",
    [
        errors.UpstreamAuthFailed("x"),
        errors.UpstreamModelMissing("x"),
        errors.UpstreamTimeout("x"),
        errors.UpstreamTlsFailed("x"),
        errors.UpstreamBadResponse("x"),
        errors.UpstreamRedirect("x"),
        errors.UpstreamRateLimited("x"),
        errors.UpstreamUnavailable("x"),
        errors.UpstreamUnreachable("x"),
    ],
    ids=lambda error: error.code,
)
async def test_the_next_target_answers_after(error):
    upstreams = Upstreams(error, "hello")

    assert await first_success(targets(2), upstreams, allowed()) == "hello"
    assert upstreams.calls == [1, 2]


@pytest.mark.parametrize(
    "error",
    [
        errors.UpstreamRateLimited("x", retry_after=0.01),
        errors.UpstreamUnavailable("x"),
        errors.UpstreamBrokeOff("x"),
        errors.UpstreamUnreachable("x"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_only_target_is_tried_again_after(error, monkeypatch):
    monkeypatch.setattr(failover, "FIRST_BACKOFF_S", 0.001)
    upstreams = Upstreams(error, "hello")

    assert await first_success(targets(1), upstreams, allowed()) == "hello"
    assert upstreams.calls == [1, 1]


@pytest.mark.parametrize(
    "error",
    [
        errors.UpstreamAuthFailed("x"),
        errors.UpstreamModelMissing("x"),
        errors.UpstreamTimeout("x"),
        errors.UpstreamConnectTimeout("x"),
        errors.UpstreamTlsFailed("x"),
        errors.UpstreamBadResponse("x"),
        errors.UpstreamRedirect("x"),
        errors.StreamInterrupted("x"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_no_target_is_tried_again_after(error, monkeypatch):
    monkeypatch.setattr(failover, "FIRST_BACKOFF_S", 0.001)
    upstreams = Upstreams(error, "hello")

    with pytest.raises(type(error)):
        await first_success(targets(1), upstreams, allowed())
    assert upstreams.calls == [1]


async def test_a_request_at_fault_is_tried_nowhere_else():
    upstreams = Upstreams(REJECTED)

    with pytest.raises(errors.UpstreamRejected):
        await first_success(targets(3), upstreams, allowed())
    assert upstreams.calls == [1]


async def test_every_target_is_tried_before_one_is_tried_again():
    upstreams = Upstreams(default=UNAVAILABLE("x"))

    with pytest.raises(UNAVAILABLE):
        await first_success(targets(2), upstreams, allowed(most=5))
    assert sorted(upstreams.calls[:2]) == [1, 2]
    assert len(upstreams.calls) == 5


@pytest.mark.parametrize("most", [1, 2, 3, 10])
@pytest.mark.parametrize("routes", [1, 2, 5])
async def test_attempts_are_bounded_over_all_routes(most, routes):
    upstreams = Upstreams(default=UNAVAILABLE("x"))

    with pytest.raises(UNAVAILABLE):
        await first_success(targets(routes), upstreams, allowed(most=most))
    assert len(upstreams.calls) == most


async def test_what_cannot_get_better_is_dropped():
    upstreams = Upstreams(default=errors.UpstreamAuthFailed("x"))

    with pytest.raises(errors.UpstreamAuthFailed):
        await first_success(targets(2), upstreams, allowed(most=9))
    assert upstreams.calls == [1, 2]


async def test_the_last_failure_is_the_one_that_is_told():
    upstreams = Upstreams(UNAVAILABLE("x"), errors.UpstreamTimeout("y"))

    with pytest.raises(errors.UpstreamTimeout):
        await first_success(targets(2), upstreams, allowed(most=2))


async def test_without_targets_nothing_is_available():
    with pytest.raises(errors.NoAvailableTarget):
        await first_success([], Upstreams(), allowed())


async def test_clients_are_told_not_to_retry_what_was_retried():
    upstreams = Upstreams(default=UNAVAILABLE("x"))

    with pytest.raises(UNAVAILABLE) as raised:
        await first_success(targets(2), upstreams, allowed())
    assert raised.value.headers["x-should-retry"] == "false"


async def test_clients_may_retry_what_was_tried_once():
    with pytest.raises(UNAVAILABLE) as raised:
        await first_success(targets(1), Upstreams(UNAVAILABLE("x")), allowed(most=1))
    assert "x-should-retry" not in raised.value.headers


async def test_the_time_is_shared_with_those_that_may_still_be_tried():
    upstreams = Upstreams(default=errors.UpstreamTimeout("x"))

    with pytest.raises(errors.UpstreamTimeout):
        await first_success(targets(3), upstreams, allowed(most=3, seconds=30))
    assert upstreams.limits == pytest.approx([10, 15, 30], abs=0.5)


@pytest.mark.parametrize(("least_s", "limits"), [(20, [20, 20, 30]), (math.inf, [30, 30, 30])])
async def test_a_share_may_be_no_less_than_so_much_of_what_is_left(least_s, limits):
    upstreams = Upstreams(default=errors.UpstreamTimeout("x"))

    with pytest.raises(errors.UpstreamTimeout):
        await first_success(targets(3), upstreams, allowed(seconds=30, least_s=least_s))
    assert upstreams.limits == pytest.approx(limits, abs=0.5)


async def test_routes_beyond_the_attempts_get_no_share():
    upstreams = Upstreams("hello")

    await first_success(targets(5), upstreams, allowed(most=2, seconds=30))

    assert upstreams.limits == pytest.approx([15], abs=0.5)


async def test_no_attempt_is_longer_than_its_provider_allows():
    upstreams = Upstreams("hello")

    await first_success(targets(1, first_byte_timeout_s=2.0), upstreams, allowed(seconds=60))

    assert upstreams.limits == [2.0]


async def test_a_target_is_left_alone_as_long_as_it_asked():
    times = []

    async def attempt(target, limit_s):
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            raise UNAVAILABLE("x", retry_after=0.2)
        return "hello"

    await first_success(targets(1), attempt, allowed())

    assert times[1] - times[0] >= 0.2


async def test_a_pause_too_long_to_wait_for_is_told_to_the_client():
    upstreams = Upstreams(errors.UpstreamRateLimited("x", retry_after=60))

    with pytest.raises(errors.UpstreamRateLimited) as raised:
        await first_success(targets(1), upstreams, allowed())
    assert (raised.value.retry_after, upstreams.calls) == (60, [1])


async def test_a_pause_beyond_the_deadline_is_not_begun():
    upstreams = Upstreams(UNAVAILABLE("x", retry_after=3))

    with pytest.raises(UNAVAILABLE):
        await first_success(targets(1), upstreams, allowed(seconds=1))
    assert upstreams.calls == [1]


async def test_nothing_is_begun_after_the_deadline():
    upstreams = Upstreams("hello")

    with pytest.raises(errors.NoAvailableTarget):
        await first_success(targets(1), upstreams, allowed(seconds=-1))
    assert upstreams.calls == []


def waits_after(tries, *, told=None):
    error = UNAVAILABLE("x", retry_after=told)
    return [failover._wait_after(error, tries) for _ in range(2000)]


@pytest.mark.parametrize(("tries", "longest"), [(1, 1.0), (2, 2.0), (3, 4.0), (9, 4.0)])
def test_r21_pauses_have_full_jitter_double_and_are_capped(monkeypatch, tries, longest):
    monkeypatch.setattr(failover, "FIRST_BACKOFF_S", 1.0)

    waits = waits_after(tries)

    assert 0 <= min(waits) < 0.1 * longest
    assert 0.9 * longest < max(waits) <= longest
    assert sum(waits) / len(waits) == pytest.approx(longest / 2, rel=0.1)


def test_r21_no_pause_is_shorter_than_asked_for():
    waits = waits_after(1, told=2)

    assert 2 <= min(waits) <= max(waits) <= 2.25


async def test_what_each_target_did_is_written_down():
    attempts = allowed()
    failure = UNAVAILABLE("x")

    await first_success(targets(2), Upstreams(failure, "hello"), attempts)

    assert [(target.route_id, error) for target, error in attempts.log] == [(1, failure), (2, None)]


async def test_a_bug_is_not_mistaken_for_a_failed_attempt():
    with pytest.raises(ZeroDivisionError):
        await first_success(targets(2), Upstreams(ZeroDivisionError()), allowed())


RATE_LIMITED = errors.UpstreamRateLimited
AUTH_FAILED = errors.UpstreamAuthFailed


def keys_of(route, *keys, provider=None):
    return [make_target(route, key_id=key, provider_id=provider or route) for key in keys]


class Asked(Upstreams):
    """Notes the keys that were used, too."""

    async def __call__(self, target, limit_s):
        try:
            return await super().__call__(target, limit_s)
        finally:
            self.calls[-1] = target.id


async def test_a_route_that_fails_is_followed_by_another_before_another_key_of_it():
    upstreams = Asked(UNAVAILABLE("x"), "hello")

    await first_success([*keys_of(1, 1, 2), *keys_of(2, 3)], upstreams, allowed())

    assert upstreams.calls == [(1, 1), (2, 3)]


async def test_a_key_at_its_limit_is_followed_by_the_next_key():
    upstreams = Asked(RATE_LIMITED("x"), "hello")

    await first_success([*keys_of(1, 1, 2), *keys_of(2, 3)], upstreams, allowed())

    assert upstreams.calls == [(1, 1), (1, 2)]


async def test_a_key_that_was_refused_is_not_used_again_on_any_route():
    upstreams = Asked(AUTH_FAILED("x"), default="hello")
    targets = [*keys_of(1, 7, provider=5), *keys_of(2, 7, 8, provider=5)]

    await first_success(targets, upstreams, allowed())

    assert upstreams.calls == [(1, 7), (2, 8)]


async def test_a_rate_limit_without_a_time_is_told_with_one():
    with pytest.raises(RATE_LIMITED) as raised:
        await first_success(targets(1), Upstreams(RATE_LIMITED("x")), allowed())

    assert raised.value.retry_after == 5


async def test_of_several_pauses_the_client_is_told_the_shortest():
    upstreams = Upstreams(RATE_LIMITED("x", retry_after=30), RATE_LIMITED("x", retry_after=3600))

    with pytest.raises(RATE_LIMITED) as raised:
        await first_success(targets(2), upstreams, allowed())

    assert (raised.value.retry_after, upstreams.calls) == (30, [1, 2])


class Shut(failover.Open):
    """A gate that tells what it is told, by the number of the route, once it has been asked."""

    def __init__(self, outs=None, retries=True):
        self.outs = outs or {}
        self.retries = retries

    def out(self, target):
        return self.outs.get(target.route_id)

    def may_retry(self, target, tries):
        return self.retries


async def test_a_target_that_went_out_meanwhile_is_passed_over():
    upstreams = Upstreams(default="hello")

    await first_success(targets(2), upstreams, allowed(), Shut({1: Out("probing")}))

    assert upstreams.calls == [2]


async def test_the_last_target_is_tried_although_it_is_out():
    upstreams = Upstreams(default="hello")
    gate = Shut({1: Out("breaker_open"), 2: Out("breaker_open")})

    await first_success(targets(2), upstreams, allowed(), gate)

    assert upstreams.calls == [1]


async def test_one_that_must_not_be_called_is_not_even_then():
    upstreams = Upstreams(default="hello")
    gate = Shut({1: Out("rate_limited", 60, is_final=True)})

    with pytest.raises(errors.NoAvailableTarget):
        await first_success(targets(1), upstreams, allowed(), gate)
    assert upstreams.calls == []


async def test_r20_a_retry_that_is_refused_ends_with_the_last_failure():
    upstreams = Upstreams(default=UNAVAILABLE("x"))

    with pytest.raises(UNAVAILABLE):
        await first_success(targets(3), upstreams, allowed(), Shut(retries=False))
    assert upstreams.calls == [1]


async def test_who_was_called_and_failed_is_told_rather_than_a_key_without_room():
    slow, full = errors.UpstreamTimeout("Too slow."), errors.KeyAtItsLimit("No room.")

    with pytest.raises(errors.UpstreamTimeout):
        await first_success(targets(2), Upstreams(slow, full), allowed())
