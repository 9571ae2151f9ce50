import random
from collections import Counter

import pytest

from gateway import routing
from tests.gateway.targets import make_target


def nobody(target):
    return False


def first_shares(targets, draws=20_000):
    """How often each target came first, by its number, as a share of all draws."""
    draw = random.Random(7).random
    firsts = Counter(routing.order(targets, nobody, draw)[0].route_id for _ in range(draws))
    return {number: count / draws for number, count in firsts.items()}


def test_lower_priorities_come_first():
    targets = [make_target(n, priority=p) for n, p in ((1, 2), (2, 0), (3, 1))]

    ordered = routing.order(targets, nobody)

    assert [target.route_id for target in ordered] == [2, 3, 1]


def test_weights_decide_who_comes_first_how_often():
    targets = [make_target(n, weight=w) for n, w in ((1, 6), (2, 3), (3, 1))]

    shares = first_shares(targets)

    assert shares == pytest.approx({1: 0.6, 2: 0.3, 3: 0.1}, abs=0.02)


def test_the_weight_of_a_key_counts_too():
    targets = [make_target(1, key_weight=3), make_target(2, key_weight=1)]

    assert first_shares(targets) == pytest.approx({1: 0.75, 2: 0.25}, abs=0.02)


def test_keys_of_one_route_are_targets_of_their_own():
    targets = [make_target(1, key_id=1), make_target(1, key_id=2)]

    assert len(routing.order(targets, nobody)) == 2


def test_weight_zero_comes_only_after_all_others():
    targets = [make_target(1, weight=0), make_target(2, weight=1)]

    assert first_shares(targets, draws=500) == {2: 1.0}


def test_targets_that_are_out_are_left_out():
    targets = [make_target(1), make_target(2)]

    ordered = routing.order(targets, lambda target: target.route_id == 1)

    assert [target.route_id for target in ordered] == [2]


def test_when_all_are_out_all_are_tried_in_their_order():
    targets = [make_target(1, priority=1), make_target(2, priority=0)]

    ordered = routing.order(targets, lambda target: True)

    assert [target.route_id for target in ordered] == [2, 1]


def test_a_model_without_targets_has_an_empty_order():
    assert routing.order([], nobody) == []


def test_the_only_target_is_not_asked_whether_it_is_out():
    def is_out(target):
        raise AssertionError("asked")

    assert len(routing.order([make_target()], is_out)) == 1
