"""What instances tell one another of upstream keys."""

import pytest

from registry import key_health
from registry.key_health import Board, Cooling, Gauge, Meter, Place, now_s

KEY = Place(1, 7)
USE = Place(1, 7, "vendor/large")


@pytest.fixture
def shared(redis_server, settings):
    """Have a Redis, and return a function by which a board takes part."""
    settings.REDIS_URL = redis_server.url()
    key_health._client(settings.REDIS_URL).delete(key_health.HASH)

    def share(board):
        board.merge(key_health.exchange(board.take_news()))

    return share


def cooling(seconds, reason="key_rate_limited"):
    return Cooling(now_s() + seconds, reason, now_s())


def test_what_one_was_told_all_know_and_one_that_just_began(shared):
    first, second = Board(), Board()
    first.cool(KEY, cooling(60))
    first.gauge(USE, Gauge(now_s(), {"tokens": Meter(1000, 250, now_s() + 30, 1.5)}))
    shared(first)
    shared(second)

    assert second.coolings[KEY].until == pytest.approx(first.coolings[KEY].until, abs=0.1)
    assert second.coolings[KEY].reason == "key_rate_limited"
    meter = second.gauges[USE].meters["tokens"]
    assert meter[:2] == (1000, 250)
    assert meter.reset_at == pytest.approx(now_s() + 30, abs=2)


def test_of_two_rests_the_longer_one_comes_to_hold(shared):
    first, second, third = Board(), Board(), Board()
    first.cool(KEY, cooling(60))
    second.cool(KEY, cooling(5))
    for board in (first, second, first, first, third):
        shared(board)

    assert third.coolings[KEY].until > now_s() + 50


def test_the_newest_reading_of_a_meter_counts(shared):
    first, second = Board(), Board()
    first.gauge(USE, Gauge(now_s() - 5, {"tokens": Meter(10, 1, None)}))
    second.gauge(USE, Gauge(now_s(), {"tokens": Meter(10, 9, None)}))
    shared(first)
    shared(second)
    shared(first)

    assert first.gauges[USE].meters["tokens"].remaining == 9


def test_a_key_that_is_put_back_is_so_in_all(shared):
    first = Board()
    first.cool(KEY, cooling(60))
    first.gauge(USE, Gauge(now_s(), {"tokens": Meter(10, 0, now_s() + 60)}))
    shared(first)

    key_health.clear(1, 7)
    shared(first)

    assert first.coolings[KEY].until == 0
    assert first.gauges[USE].meters == {}


def test_a_redis_that_was_restarted_empty_is_told_again(shared, settings):
    first, second = Board(), Board()
    first.cool(KEY, cooling(60))
    shared(first)
    key_health._client(settings.REDIS_URL).delete(key_health.HASH)
    for board in (first, first, second):
        shared(board)

    assert KEY in second.coolings


def test_what_has_long_ended_is_forgotten(shared, settings):
    board = Board()
    board.cool(KEY, Cooling(now_s() - 9999, "key_rate_limited", now_s() - 9999))
    shared(board)
    shared(board)

    assert board.coolings == {}
    assert key_health._client(settings.REDIS_URL).hlen(key_health.HASH) == 0


def test_names_that_clients_made_up_leave_room_for_keys(monkeypatch):
    monkeypatch.setattr(key_health, "MOST_ENTRIES", 2)
    board = Board()
    for name in "abc":
        board.cool(KEY._replace(model=name), cooling(60))
    board.cool(KEY, cooling(60))

    assert set(board.coolings) == {KEY, KEY._replace(model="a"), KEY._replace(model="b")}


def test_what_was_not_told_is_told_the_next_time():
    board = Board()
    board.cool(KEY, cooling(60))
    news = board.take_news()
    board.take_back(news)

    assert board.take_news() == news


def test_a_redis_that_is_away_is_said_so(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    with pytest.raises(key_health.HealthUnknown):
        key_health.look()


@pytest.mark.parametrize("stored", [b"x", b"[1]", b'["a", "b", "c"]', b"{}", b'[1, {"x": 1}]'])
def test_what_cannot_be_read_hides_nothing_else(shared, settings, stored):
    key_health._client(settings.REDIS_URL).hset(key_health.HASH, "c/1/8/", stored)
    board = Board()
    board.cool(KEY, cooling(60))
    shared(board)

    assert set(key_health.look().coolings) == {KEY}


def test_instances_whose_clocks_differ_mean_the_same_moments(shared, monkeypatch):
    first, second = Board(), Board()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(key_health, "_DAYTIME", key_health._DAYTIME + 500)
        first.cool(KEY, cooling(60))
        first.gauge(USE, Gauge(now_s(), {"tokens": Meter(1000, 250, now_s() + 30)}))
        shared(first)
    shared(second)

    assert second.coolings[KEY].until == pytest.approx(now_s() + 60, abs=5)
    assert second.coolings[KEY].at == pytest.approx(now_s(), abs=5)
    assert second.gauges[USE].at == pytest.approx(now_s(), abs=5)
    assert second.gauges[USE].meters["tokens"].reset_at == pytest.approx(now_s() + 30, abs=5)
