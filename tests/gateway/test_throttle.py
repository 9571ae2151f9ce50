import random

import pytest

from gateway.throttle import LEAST, Throttle, reject_probability
from tests.faults.figures import figure
from tests.gateway.targets import make_target

TARGET = make_target()


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def throttle(clock):
    return Throttle(clock)


def ask(throttle, clock, *, seconds, failing, rate=50, seed=7):
    """Requests at a rate; the times and the part of them that was not sent, second by second."""
    draw = random.Random(seed).random
    held_back = []
    for _ in range(int(seconds)):
        refused = 0
        for _ in range(rate):
            clock.now += 1 / rate
            sent = draw() >= throttle.probability(TARGET)
            throttle.wanted(TARGET)
            refused += not sent
            if sent and draw() >= failing:
                throttle.accepted(TARGET)
        held_back.append(refused / rate)
    return held_back


def test_a_target_that_works_gets_everything(throttle, clock):
    assert set(ask(throttle, clock, seconds=10, failing=0.3)) == {0.0}


def test_a_few_failures_say_nothing(throttle, clock):
    for _ in range(LEAST - 1):
        throttle.wanted(TARGET)

    assert throttle.probability(TARGET) == 0


def test_r34_what_is_held_back_follows_the_formula(throttle, clock):
    """Requests that arrive at a moment are held back with the probability of that moment."""
    for number in range(500):
        throttle.wanted(TARGET)
        if number % 10 == 0:
            throttle.accepted(TARGET)
    draw = random.Random(7).random

    refused = sum(draw() < throttle.probability(TARGET) for _ in range(20_000)) / 20_000

    expected = (500 - 2 * 50) / 501
    assert refused == pytest.approx(expected, rel=0.1)
    figure("R34", f"{refused:.3f} held back of {expected:.3f}", "± 10 %")


@pytest.mark.parametrize("rate", [10, 50, 200])
def test_r34_a_target_that_works_again_gets_everything_within_half_a_minute(throttle, clock, rate):
    sick = ask(throttle, clock, seconds=60, failing=0.9, rate=rate)
    well = ask(throttle, clock, seconds=60, failing=0.0, rate=rate)

    recovered = next(second for second, part in enumerate(well) if part == 0)
    assert sick[-1] > 0.7
    assert recovered <= 30
    assert set(well[recovered + 5 :]) == {0.0}
    figure("R34", f"recovered after {recovered} s at {rate}/s", "<= 30 s")


@pytest.mark.parametrize(
    ("requests", "accepts", "expected"), [(0, 0, 0), (100, 50, 0), (100, 10, 80 / 101)]
)
def test_the_formula_is_the_books(requests, accepts, expected):
    assert reject_probability(requests, accepts) == pytest.approx(expected)


def test_who_refuses_the_fewest_requests_that_say_something_is_sick(throttle):
    for _ in range(LEAST):
        throttle.wanted(TARGET)

    assert throttle.probability(TARGET) > 0
    assert not throttle.is_quiet
