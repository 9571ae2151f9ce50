import random
from collections import Counter

import pytest

from gateway import routing
from gateway.routing import Manner, Out
from gateway.strategies import session_number
from tests.gateway.targets import make_target


class Told:
    """Readings as a test tells them, by the number of the route."""

    def __init__(self, latency=None, busy=None, quota=None, cost=None, out=None):
        self._told = {"latency": latency, "busy": busy, "quota": quota, "cost": cost, "out": out}

    def _of(self, what, target, otherwise):
        return (self._told[what] or {}).get(target.route_id, otherwise)

    def latency_s(self, target):
        return self._of("latency", target, None)

    def in_flight(self, target):
        return self._of("busy", target, 0)

    def quota_left(self, target):
        return self._of("quota", target, 1.0)

    def cost_nano(self, target):
        return self._of("cost", target, None)

    def outs(self, targets):
        return [(target, out) for target in targets if (out := self.out(target))]

    def out(self, target):
        return self._of("out", target, None)


def planned(targets, told=None, manner=None, seed=7):
    draw = random.Random(seed).random
    return routing.plan(targets, manner or Manner(), told or Told(), lambda _: draw())


def numbers(plan):
    return [target.route_id for target in plan.targets]


def first_shares(targets, manner=None, told=None, draws=20_000):
    """How often each target came first, by its number, as a share of all draws."""
    draw = random.Random(7).random
    asked = targets, manner or Manner(), told or Told(), lambda _: draw()
    firsts = Counter(routing.plan(*asked).targets[0].route_id for _ in range(draws))
    return {number: count / draws for number, count in firsts.items()}


def test_lower_priorities_come_first():
    targets = [make_target(n, priority=p) for n, p in ((1, 2), (2, 0), (3, 1))]

    assert numbers(planned(targets)) == [2, 3, 1]


def test_weights_decide_who_comes_first_how_often():
    targets = [make_target(n, weight=w) for n, w in ((1, 6), (2, 3), (3, 1))]

    assert first_shares(targets) == pytest.approx({1: 0.6, 2: 0.3, 3: 0.1}, abs=0.02)


def test_the_weight_of_a_key_counts_too():
    targets = [make_target(1, key_weight=3), make_target(2, key_weight=1)]

    assert first_shares(targets) == pytest.approx({1: 0.75, 2: 0.25}, abs=0.02)


def test_keys_of_one_route_are_targets_of_their_own():
    targets = [make_target(1, key_id=1), make_target(1, key_id=2)]

    assert len(planned(targets).targets) == 2


def test_weight_zero_comes_only_after_all_others():
    targets = [make_target(1, weight=0), make_target(2, weight=1)]

    assert first_shares(targets, draws=500) == {2: 1.0}


def test_weighted_heeds_no_priority():
    targets = [make_target(1, priority=5, weight=3), make_target(2, priority=0, weight=1)]

    shares = first_shares(targets, Manner("weighted"))

    assert shares == pytest.approx({1: 0.75, 2: 0.25}, abs=0.02)


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ("least_latency", Told(latency={1: 0.9, 2: 0.1})),
        ("least_cost", Told(cost={1: 900, 2: 100})),
        ("least_busy", Told(busy={1: 9, 2: 1})),
        ("most_quota", Told(quota={1: 0.1, 2: 0.9})),
    ],
)
def test_a_strategy_prefers_by_its_measure(strategy, told):
    targets = [make_target(1), make_target(2)]

    assert first_shares(targets, Manner(strategy), told, draws=200) == {2: 1.0}


@pytest.mark.parametrize("strategy", routing.STRATEGIES)
def test_every_strategy_but_weighted_keeps_to_priorities(strategy):
    told = Told(latency={1: 9}, cost={1: 9, 2: 1}, busy={1: 9}, quota={1: 0.1})
    targets = [make_target(1, priority=0), make_target(2, priority=1)]

    firsts = {numbers(planned(targets, told, Manner(strategy), seed))[0] for seed in range(40)}

    assert firsts == ({1, 2} if strategy == "weighted" else {1})


@pytest.mark.parametrize("strategy", routing.STRATEGIES)
def test_every_strategy_tries_each_target_once(strategy):
    targets = [make_target(n, weight=n % 3) for n in range(1, 8)]

    assert sorted(numbers(planned(targets, manner=Manner(strategy)))) == list(range(1, 8))


def test_what_waits_already_counts_against_a_fast_target():
    told = Told(latency={1: 0.1, 2: 0.2}, busy={1: 5})

    plan = planned([make_target(1), make_target(2)], told, Manner("least_latency"))

    assert numbers(plan) == [2, 1]


def test_the_request_itself_counts_as_one_that_waits():
    told = Told(latency={1: 0.1, 2: 0.3}, busy={1: 3})

    plan = planned([make_target(1), make_target(2)], told, Manner("least_latency"))

    assert numbers(plan) == [2, 1]


def test_behind_the_choice_of_two_the_sooner_answer_comes_first():
    told = Told(latency={n: n / 10 for n in range(1, 7)})
    targets = [make_target(n) for n in range(1, 7)]

    for seed in range(20):
        _, *others = numbers(planned(targets, told, Manner("least_latency"), seed))
        assert others == sorted(others)


@pytest.mark.parametrize("strategy", routing.STRATEGIES)
def test_what_a_strategy_finds_equal_is_shared_by_weight(strategy):
    targets = [make_target(1, weight=3), make_target(2, weight=1)]
    told = Told(busy={1: 2}) if strategy == "least_busy" else Told()

    shares = first_shares(targets, Manner(strategy), told, draws=4000)

    assert shares == pytest.approx({1: 0.75, 2: 0.25}, abs=0.04)


def test_a_target_of_unknown_latency_is_taken_for_a_usual_one():
    told = Told(latency={1: 0.1, 2: 0.3})
    targets = [make_target(n) for n in (1, 2, 3)]

    shares = first_shares(targets, Manner("least_latency"), told, draws=3000)

    # Two are drawn: it wins against the slow one and loses against the fast one.
    assert shares == pytest.approx({1: 2 / 3, 3: 1 / 3}, abs=0.05)


def test_two_choices_leave_the_slowest_for_last_and_not_all_to_the_fastest():
    told = Told(latency={n: n / 10 for n in range(1, 6)})
    targets = [make_target(n) for n in range(1, 6)]

    shares = first_shares(targets, Manner("least_latency"), told, draws=3000)

    assert 5 not in shares
    assert shares[1] == pytest.approx(0.4, abs=0.05)


def test_an_unknown_cost_comes_last():
    told = Told(cost={2: 10**12})

    assert numbers(planned([make_target(1), make_target(2)], told, Manner("least_cost"))) == [2, 1]


def test_twice_the_weight_may_be_twice_as_busy():
    told = Told(busy={1: 4, 2: 3})
    targets = [make_target(1, weight=2), make_target(2, weight=1)]

    assert numbers(planned(targets, told, Manner("least_busy"))) == [1, 2]


@pytest.mark.parametrize(("busy", "first"), [({}, 1), ({1: 3}, 2), ({1: 1}, 1)])
def test_requests_are_counted_for_the_weight_with_the_one_that_comes(busy, first):
    targets = [make_target(1, weight=3), make_target(2, weight=1)]

    assert numbers(planned(targets, Told(busy=busy), Manner("least_busy")))[0] == first


def test_what_is_preferred_comes_before_its_priority():
    targets = [make_target(1, priority=0), make_target(2, priority=3)]

    plan = planned(targets, manner=Manner(preferred={targets[1].id}))

    assert numbers(plan) == [2, 1]


def test_a_session_always_has_the_same_order():
    targets = [make_target(n) for n in range(1, 6)]

    orders = {tuple(numbers(planned(targets, None, Manner(session=9), s))) for s in range(20)}

    assert len(orders) == 1


def test_sessions_are_shared_by_weight():
    targets = [make_target(1, weight=3), make_target(2, weight=1)]

    firsts = Counter(
        numbers(planned(targets, manner=Manner(session=session_number(f"session {number}"))))[0]
        for number in range(8000)
    )

    assert firsts[1] / 8000 == pytest.approx(0.75, abs=0.02)


def test_a_target_that_leaves_moves_only_its_own_sessions():
    targets = [make_target(n) for n in range(1, 6)]

    for session in range(300):
        before = numbers(planned(targets, manner=Manner(session=session)))
        after = numbers(planned(targets[:4], manner=Manner(session=session)))
        assert after == [number for number in before if number != 5]


def test_a_session_has_the_order_that_it_had_in_other_versions():
    # Two versions run side by side while one takes the other's place.
    targets = [
        make_target(1), make_target(2, key_id=3, weight=2), make_target(3, key_id=4),
        make_target(3, key_id=5), make_target(6, weight=0), make_target(7, weight=0),
    ]  # fmt: skip

    def order_of(name):
        plan = planned(targets, manner=Manner(session=session_number(name)))
        return "".join(str(target.key_id or target.route_id) for target in plan.targets)

    orders = [order_of(name) for name in ("", "one", "two", "three", "é")]
    assert orders == ["431567", "154367", "534167", "143576", "354167"]


def test_a_session_of_a_name_that_is_no_text_has_a_number():
    assert session_number("\ud800") == session_number("?")


@pytest.mark.parametrize(
    ("places", "last"),
    [
        ({0: 12}, None),  # of three: twice the mean, and four
        ({0: 13}, 0),
        ({1: 13}, 1),
        ({0: 13, 1: 13, 2: 13}, None),
    ],
)
def test_a_route_far_busier_than_the_others_comes_last_of_a_session(places, last):
    targets = [make_target(n) for n in (1, 2, 3)]
    usual = numbers(planned(targets, manner=Manner(session=4)))

    busy = {usual[place]: count for place, count in places.items()}
    plan = planned(targets, Told(busy=busy), Manner(session=4))

    hot = [] if last is None else [usual[last]]
    assert numbers(plan) == [number for number in usual if number not in hot] + hot


def test_a_route_just_as_busy_as_it_may_be_keeps_its_place():
    targets = [make_target(n) for n in range(1, 6)]
    first, second, *others = numbers(planned(targets, manner=Manner(session=4)))

    plan = planned(targets, Told(busy={first: 41, second: 34}), Manner(session=4))

    assert numbers(plan) == [second, *others, first]


@pytest.mark.parametrize(
    ("out", "passed_over"), [((), []), ((3,), []), ((1, 3), [1]), ((1, 2), [1, 2])]
)
def test_what_would_have_been_tried_first_is_what_the_request_was_meant_for(out, passed_over):
    targets = [make_target(number, priority=number) for number in (1, 2, 3)]

    plan = planned(targets, Told(out={number: Out("breaker_open") for number in out}))

    assert [target.route_id for target in plan.passed_over] == passed_over
    assert plan.meant_for.route_id == 1


def test_by_lot_is_by_the_lot_that_is_given():
    targets = [make_target(number) for number in range(1, 9)]

    plan = routing.plan(targets, Manner(), Told(), lambda target: target.route_id / 9)

    assert numbers(plan) == list(range(8, 0, -1))


def test_without_a_lot_one_is_drawn():
    targets = [make_target(number) for number in range(1, 9)]

    orders = {tuple(numbers(routing.plan(targets, Manner(), Told()))) for _ in range(20)}

    assert len(orders) > 1


def test_targets_that_are_out_are_dropped_with_the_reason():
    targets = [make_target(1), make_target(2)]

    plan = planned(targets, Told(out={1: Out("breaker_open", 8.0)}))

    assert numbers(plan) == [2]
    assert [(d.target.route_id, d.reason, d.for_s) for d in plan.dropped] == [
        (1, "breaker_open", 8.0)
    ]


def test_when_all_are_out_all_are_tried_in_their_order():
    targets = [make_target(1, priority=1), make_target(2, priority=0)]

    plan = planned(targets, Told(out={1: Out("breaker_open"), 2: Out("breaker_open")}))

    assert numbers(plan) == [2, 1]
    assert plan.is_last_resort


def test_what_must_not_be_called_is_not_even_then():
    targets = [make_target(1), make_target(2)]
    told = Told(out={1: Out("breaker_open"), 2: Out("rate_limited", 9.0, is_final=True)})

    plan = planned(targets, told)

    assert numbers(plan) == [1]
    assert [dropped.reason for dropped in plan.dropped] == ["rate_limited"]


def test_a_model_without_targets_has_an_empty_order():
    assert planned([]).targets == []


def test_a_step_names_what_it_left_out():
    targets = [make_target(1), make_target(2)]

    assert [d.target.route_id for d in routing.left_out(targets, targets[:1], "why")] == [2]
    assert routing.left_out(targets, targets, "why") == []
