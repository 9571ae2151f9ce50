"""Whatever upstreams do, failover keeps to its rules."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors, failover
from gateway.failover import Attempts, first_success
from gateway.recovery import Recovery, asked_pause_s, recovery_from
from tests.gateway.targets import make_target

FAILURES = [
    lambda after: errors.UpstreamUnavailable("x", retry_after=after),
    lambda after: errors.UpstreamRateLimited("x", retry_after=after),
    lambda after: errors.UpstreamUnreachable("x"),
    lambda after: errors.UpstreamAuthFailed("x"),
    lambda after: errors.UpstreamTimeout("x"),
    lambda after: errors.UpstreamBadResponse("x"),
    lambda after: errors.UpstreamModelMissing("x"),
    lambda after: errors.UpstreamRejected("x", status=400, code=None, param=None),
]
outcomes = st.one_of(
    st.none(),
    st.builds(
        lambda make, after: make(after),
        st.sampled_from(FAILURES),
        st.one_of(st.none(), st.floats(0, 0.02), st.just(60.0)),
    ),
)
places = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=6, unique=True
)


class Log:
    """Calls in the order in which they were made: (moment, target, how it ended)."""

    def __init__(self, script):
        self.script = list(script)
        self.calls = []

    async def __call__(self, target, limit_s):
        outcome = self.script.pop(0) if self.script else None
        self.calls.append((asyncio.get_running_loop().time(), target, outcome))
        assert limit_s > 0
        if outcome is not None:
            raise outcome
        return "hello"


def run(script, targets, most):
    async def body():
        log = Log(script)
        attempts = Attempts(most=most, deadline=asyncio.get_running_loop().time() + 1)
        try:
            answer = await first_success(targets, log, attempts)
        except errors.UpstreamError as error:
            answer = error
        return log.calls, attempts, answer

    return asyncio.run(body())


@pytest.fixture(scope="module", autouse=True)
def _short_pauses():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failover, "FIRST_BACKOFF_S", 0.001)
        yield


@given(script=st.lists(outcomes, max_size=8), places=places, most=st.integers(1, 5))
def test_r20_r21_every_script_is_played_by_the_rules(script, places, most):
    targets = [make_target(route, key_id=key, provider_id=9) for route, key in places]

    calls, attempts, answer = run(script, targets, most)

    assert len(calls) == attempts.made <= most
    ends = [number for number, (_, _, outcome) in enumerate(calls) if _is_an_end(outcome)]
    assert ends in ([], [len(calls) - 1]), "nothing is called after an answer or a refusal"
    _nothing_too_early(calls)
    _no_refused_key_again(calls)
    if isinstance(answer, errors.UpstreamError) and len(calls) > 1:
        assert answer.headers["x-should-retry"] == "false"


def _is_an_end(outcome):
    return outcome is None or recovery_from(outcome) is Recovery.NONE


def _nothing_too_early(calls):
    for number, (at, target, _) in enumerate(calls):
        for before, other, outcome in calls[:number]:
            if other.id == target.id and outcome is not None:
                assert recovery_from(outcome) in {Recovery.BACKOFF, Recovery.PAUSE}
                assert at - before >= (asked_pause_s(outcome) or 0)


def _no_refused_key_again(calls):
    refused = set()
    for _, target, outcome in calls:
        assert target.key_id not in refused
        if isinstance(outcome, errors.UpstreamAuthFailed):
            refused.add(target.key_id)
