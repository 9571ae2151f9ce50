"""Who is turned away, and when."""

import asyncio
import time

import pytest

from gateway import shedding
from gateway.shedding import FEW, LOOK_EVERY_S, TARGET_S, Load, answer_to


def late(*lags):
    load = Load()
    for lag in lags:
        load.learn(lag)
    return load


def test_r35_below_the_target_nobody_is_turned_away():
    assert late(*[0.9 * TARGET_S] * 200).share == pytest.approx(0, abs=1e-9)


def test_r35_while_the_loop_is_late_more_and_more_are_turned_away():
    shares = [late(*[4 * TARGET_S] * looks).share for looks in range(1, 6)]

    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_r35_one_pause_turns_half_away_at_most_and_not_for_long():
    load = late(0, 0, 10)
    most = load.share
    for _ in range(5):
        load.learn(0)

    assert (most, load.share) == (0.5, 0)


def test_r35_when_the_queue_has_gone_everybody_is_let_in_again():
    load = late(*[4 * TARGET_S] * 20)
    for _ in range(50):
        load.learn(0)

    assert load.share == 0


@pytest.mark.parametrize("offered", [1.5, 3, 6])
def test_r35_as_many_are_turned_away_as_are_too_many(offered):
    """A model of a loop in which serving takes 0.5 ms and turning away takes a twentieth."""
    load, served, spent, lag = Load(), 0.0, 0.0, 0.0
    for _ in range(2000):
        arrived = (LOOK_EVERY_S + lag) * offered / 0.0005
        work = arrived * (1 - load.share) * 0.0005 + arrived * load.share * 0.000025
        served += arrived * (1 - load.share) * 0.0005
        spent += max(work, LOOK_EVERY_S)
        lag = max(work - LOOK_EVERY_S, 0)
        load.learn(lag)

    assert served / spent > (1 - offered / 20) * 0.9
    assert lag < 2 * TARGET_S


def test_r35_few_requests_are_no_overload():
    load = late(1, 1, 1, 1)

    assert not load.turns_away(FEW - 1)
    assert load.turns_away(FEW)


def test_r35_the_share_is_that_of_the_requests():
    load = Load()
    load.share = 0.5

    assert 400 < sum(load.turns_away(1000) for _ in range(1000)) < 600


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/v1/chat/completions", b'"code":"overloaded"'),
        ("/v1/messages", b'"type":"overloaded_error"'),
        ("/v1beta/models/x:generateContent", b"UNAVAILABLE"),
    ],
)
def test_r35_every_client_is_told_in_its_own_format(path, part):
    assert part in answer_to(path)


async def test_r35_a_loop_that_is_late_is_seen_to_be(monkeypatch):
    monkeypatch.setattr(shedding, "LOOK_EVERY_S", 0.001)
    load = Load()
    watching = asyncio.create_task(load.watch())
    for _ in range(9):
        await asyncio.sleep(0.001)
        _block(0.05)

    assert load.lag_s > TARGET_S
    watching.cancel()


def _block(seconds):
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass
