"""Breakers under made-up histories: one probe at a time, and nobody is shut out for ever."""

import random

import pytest

from gateway import errors
from gateway.breaker import OPEN_FOR_S, Breakers
from gateway.recovery import LONGEST_PAUSE_S
from registry import health
from tests.gateway.targets import make_target
from tests.gateway.test_breaker import Clock
from tests.soak import trials

TARGET = make_target()
FAILURES = (
    lambda: errors.UpstreamUnavailable("x"),
    lambda: errors.UpstreamUnavailable("x", retry_after=0),
    lambda: errors.UpstreamUnavailable("x", retry_after=0.5),
    lambda: errors.UpstreamRateLimited("x"),
    lambda: errors.UpstreamRateLimited("x", retry_after=0),
    lambda: errors.UpstreamRateLimited("x", retry_after=20),
    lambda: errors.UpstreamTimeout("x"),
    lambda: errors.UpstreamAuthFailed("x"),
    lambda: errors.UpstreamRejected("x", status=400, code=None, param=None),
)


def end(breakers, begun, chance):
    match chance.choice(["succeeded", "failed", "failed", "failed", "gave up"]):
        case "succeeded":
            breakers.succeeded(TARGET, begun)
        case "failed":
            breakers.failed(TARGET, chance.choice(FAILURES)(), begun)
        case _:
            breakers.gave_up(TARGET, begun)


@pytest.mark.parametrize("seed", range(trials(50, 2000)))
def test_r23_there_is_one_probe_at_most_and_never_none_for_ever(seed, monkeypatch):
    chance, clock = random.Random(seed), Clock()
    breakers, under_way, decided_at = Breakers(clock), [], [0.0]

    def report(target, provider, state, *_):
        if state != "half_open":
            decided_at.append(clock.now)

    monkeypatch.setattr(health, "report", report)
    for _ in range(200):
        clock.now += chance.choice([0.0, 0.01, 1.0, OPEN_FOR_S / 2, OPEN_FOR_S])
        if under_way and chance.random() < 0.5:
            end(breakers, under_way.pop(chance.randrange(len(under_way))), chance)
        else:
            # One that is out may be called all the same, for no other is left.
            out = breakers.out(TARGET)
            begun = breakers.begin(TARGET)
            assert not (begun.is_probe and out)
            under_way.append(begun)
        # Probes that began before it opened or closed again decide nothing any more.
        assert sum(each.is_probe and each.at > decided_at[-1] for each in under_way) <= 1
    for begun in under_way:
        breakers.gave_up(TARGET, begun)
    clock.now += LONGEST_PAUSE_S

    assert breakers.out(TARGET) is None
