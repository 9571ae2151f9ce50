import pytest

from gateway import load as module
from gateway.load import DECAY_S, PENALTY_S, Load
from tests.gateway.targets import make_target


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def load(clock):
    return Load(clock)


TARGET = make_target()


def test_of_a_target_that_was_never_called_nothing_is_known(load):
    assert (load.in_flight(TARGET), load.latency_s(TARGET)) == (0, None)


def test_what_begins_is_in_flight_until_it_ends(load):
    load.begin(TARGET)
    load.begin(TARGET)
    load.end(TARGET)

    assert load.in_flight(TARGET) == 1


def test_a_second_end_takes_nothing_from_others(load):
    load.begin(TARGET)
    load.end(TARGET)
    load.end(TARGET)
    load.begin(TARGET)

    assert load.in_flight(TARGET) == 1


def test_a_slow_answer_counts_at_once(load):
    load.begin(TARGET)
    load.answered(TARGET, 0.1)
    load.answered(TARGET, 2.0)

    assert load.latency_s(TARGET) == 2.0


def test_a_slow_answer_is_forgotten_slowly(load, clock):
    load.begin(TARGET)
    load.answered(TARGET, 2.0)
    clock.now += DECAY_S
    load.answered(TARGET, 0.0)

    assert load.latency_s(TARGET) == pytest.approx(2.0 / 2.718281828, rel=1e-6)


def test_failing_fast_does_not_look_like_answering_fast(load):
    load.begin(TARGET)
    load.answered(TARGET, 0.1)
    load.failed(TARGET)

    assert load.latency_s(TARGET) == PENALTY_S


def test_no_more_than_so_many_targets_are_remembered(load, monkeypatch):
    monkeypatch.setattr(module, "MOST_KNOWN", 10)
    load.begin(TARGET)
    for number in range(2, 40):
        load.begin(make_target(number))
        load.end(make_target(number))

    assert len(load._measured) <= 11
    assert load.in_flight(TARGET) == 1
