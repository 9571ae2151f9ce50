"""Who is turned away, and when."""

import asyncio

import pytest

from gateway import shedding
from gateway.shedding import FEW, FULL_S, LOOKS, WARY_S, Load, answer_to


def late(*lags):
    load = Load()
    for lag in lags:
        load.learn(lag)
    return load


@pytest.mark.parametrize(
    ("lag", "share"),
    [(0, 0), (WARY_S, 0), ((WARY_S + FULL_S) / 2, 0.5), (FULL_S, 1), (10, 1)],
)
def test_r35_the_share_that_is_turned_away_grows_with_the_lag(lag, share):
    assert late(*[lag] * LOOKS).share == pytest.approx(share)


def test_r35_one_pause_turns_nobody_away():
    assert late(0, 0, 1).share == 0


def test_r35_when_the_queue_has_gone_everybody_is_let_in_again():
    assert late(1, 1, 1, 0).share == 0


def test_r35_few_requests_are_no_overload():
    load = late(1, 1, 1)

    assert not load.turns_away(FEW - 1)
    assert load.turns_away(FEW)


def test_r35_as_many_are_turned_away_as_the_share_says():
    load = late(*[(WARY_S + FULL_S) / 2] * LOOKS)

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
    for _ in range(3 * LOOKS):
        await asyncio.sleep(0.001)
        _block(0.05)

    assert load.lag_s > WARY_S
    watching.cancel()


def _block(seconds):
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() - began < seconds:
        pass
