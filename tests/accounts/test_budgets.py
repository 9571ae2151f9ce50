"""What both stores promise about money. Each test runs on the local one and on Redis."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from accounts.limits import BUSY_US, RESERVED, UNKNOWN, Figures, Mend, Settlement
from accounts.periods import from_us, to_us
from accounts.purses import HOLD_US
from accounts.rules import Raise, place_of
from tests.accounts.conftest import NOON_US, a_budget, a_limit, by, costs, rules_of, tokens

SEOUL = ZoneInfo("Asia/Seoul")
DAY_S = 86_400


async def known(store, *budgets, spent=0):
    now_us, _ = await store.claim(budgets, "test")
    windows = [budget.window_at(now_us) for budget in budgets]
    figures = [Figures(one, at, {at: spent}) for one, at in zip(budgets, windows, strict=True)]
    assert all(await store.build(figures, "test"))


async def admitted(store, cost, *rules, lease="a"):
    return (await store.admit(rules_of(*rules), lease, costs(cost))).refused == RESERVED


async def spend(store, cost, *rules, lease="spent", held=None):
    """Admit a request, and settle it at once."""
    verdict = await store.admit(rules_of(*rules), lease, costs(cost if held is None else held))
    assert verdict.refused == RESERVED
    store.settle(rules_of(*rules), lease, ended(verdict, cost))
    return verdict


def ended(verdict, cost, held=0):
    return Settlement(costs(cost), costs(held), verdict.newest, verdict.windows)


async def money(store, *budgets):
    """What is spent and what is held of each."""
    look = await store.look(rules_of(*budgets))
    return list(zip(look.spent, look.reserved, strict=True))


@pytest.fixture
def at(clock):
    def set_clock(*moment, zone=SEOUL):
        clock.now = to_us(datetime(*moment, tzinfo=zone))

    return set_clock


async def test_a_budget_that_is_not_known_is_not_empty(store):
    verdict = await store.admit(rules_of(a_budget(1000)), "a", costs(1))
    assert verdict.refused == UNKNOWN
    assert await money(store, a_budget(1000)) == [(-1, 0)]


async def test_a_budget_admits_exactly_its_amount(store):
    budget = a_budget(1000)
    await known(store, budget)
    assert await admitted(store, 600, budget)
    assert not await admitted(store, 401, budget, lease="b")
    assert await admitted(store, 400, budget, lease="c")


async def test_what_was_spent_before_counts(store):
    budget = a_budget(1000)
    await known(store, budget, spent=900)
    assert not await admitted(store, 101, budget)
    assert await admitted(store, 100, budget)


async def test_the_real_cost_takes_the_place_of_the_hold(store):
    budget = a_budget(1000)
    await known(store, budget)
    await spend(store, 70, budget, held=600)
    assert await money(store, budget) == [(70, 0)]


async def test_more_than_was_held_is_counted_all_the_same(store):
    budget = a_budget(1000)
    await known(store, budget)
    await spend(store, 1700, budget, held=600)
    assert await money(store, budget) == [(1700, 0)]


async def test_all_limits_and_budgets_are_held_or_none(store):
    rules = a_limit("requests", 9), a_budget(1000), a_budget(100, "month", number=2)
    await known(store, *rules[1:])
    assert not await admitted(store, 101, *rules)
    assert await money(store, *rules[1:]) == [(0, 0), (0, 0)]
    assert list((await store.look(rules_of(*rules))).used) == [0]


async def test_a_limit_that_refuses_holds_no_money(store):
    rules = a_limit("requests", 0), a_budget(1000)
    await known(store, rules[1])
    assert not await admitted(store, 10, *rules)
    assert await money(store, rules[1]) == [(0, 0)]


async def test_a_budget_of_nothing_admits_what_is_free(store):
    budget = a_budget(0)
    await known(store, budget)
    assert await admitted(store, 0, budget)
    assert not await admitted(store, 1, budget)


async def test_what_is_free_passes_a_budget_that_is_overdrawn(store):
    budget = a_budget(100)
    await known(store, budget, spent=150)
    assert await admitted(store, 0, budget)


async def test_a_soft_budget_refuses_nobody_and_counts(store):
    budget = a_budget(100, hard=False)
    await known(store, budget)
    await spend(store, 500, budget)
    assert await admitted(store, 1, budget)
    assert await money(store, budget) == [(500, 1)]


async def test_an_exhausted_budget_is_named_before_a_limit(store):
    rules = a_limit("requests", 0), a_budget(10), a_budget(5, "month", number=2)
    await known(store, *rules[1:])
    verdict = await store.admit(rules_of(*rules), "a", costs(11))
    assert verdict.refused == 2


async def test_holds_alone_in_the_way_are_soon_over(store):
    budget = a_budget(1000)
    await known(store, budget)
    await admitted(store, 900, budget)
    verdict = await store.admit(rules_of(budget), "b", costs(200))
    assert (verdict.refused, verdict.wait_us) == (0, BUSY_US)


async def test_a_raise_counts_while_it_lasts(store, clock):
    raised = Raise(NOON_US + 10_000_000, NOON_US + 20_000_000, 500)
    budget = a_budget(1000, raises=(raised,))
    await known(store, budget)
    answers = []
    for _ in range(3):
        answers.append(await admitted(store, 1500, budget, lease=""))
        clock.pass_s(10)
    assert answers == [False, True, False]


async def test_another_amount_keeps_what_was_spent(store):
    await known(store, a_budget(1000))
    await spend(store, 700, a_budget(1000))
    assert not await admitted(store, 101, a_budget(800))
    assert await admitted(store, 100, a_budget(800))


@pytest.mark.parametrize(
    "change",
    [("week", False, "UTC", 0), ("day", True, "UTC", 0), ("day", False, "Asia/Seoul", 0),
     ("day", False, "UTC", 5)],
)  # fmt: skip
def test_another_way_of_counting_is_another_place(change):
    assert place_of(1, "key:1", *change) != place_of(1, "key:1", "day", False, "UTC", 0)


@pytest.mark.parametrize(
    ("period", "last", "first"),
    [
        ("day", (2026, 11, 25, 23, 59, 59), (2026, 11, 26)),
        ("week", (2026, 11, 29, 23, 59, 59), (2026, 11, 30)),
        ("month", (2026, 11, 30, 23, 59, 59), (2026, 12, 1)),
    ],
)
async def test_a_window_ends_at_midnight_of_the_time_zone(store, at, period, last, first):
    budget = a_budget(1000, period, time_zone="Asia/Seoul")
    at(*last)
    await known(store, budget)
    await spend(store, 1000, budget)
    assert not await admitted(store, 1, budget)
    at(*first)
    assert await admitted(store, 1000, budget)
    assert await money(store, budget) == [(0, 1000)]


async def test_a_refusal_tells_when_the_window_ends(store, at, clock):
    budget = a_budget(0, "month", time_zone="Asia/Seoul")
    at(2026, 11, 30, 22)
    await known(store, budget)
    verdict = await store.admit(rules_of(budget), "a", costs(1))
    assert from_us(clock.now + verdict.wait_us) == datetime(2026, 12, 1, tzinfo=SEOUL)


async def test_a_day_on_which_clocks_change_has_one_window(store, at):
    berlin, budget = ZoneInfo("Europe/Berlin"), a_budget(1000, time_zone="Europe/Berlin")
    at(2026, 10, 25, 0, zone=berlin)
    await known(store, budget)
    await spend(store, 1000, budget)
    at(2026, 10, 25, 23, 59, 59, zone=berlin)
    assert not await admitted(store, 1, budget)
    at(2026, 10, 26, zone=berlin)
    assert await admitted(store, 1000, budget)


async def test_a_budget_that_is_given_once_never_comes_again(store, clock):
    budget = a_budget(1000, "total")
    await known(store, budget)
    await spend(store, 1000, budget)
    clock.pass_s(4000 * DAY_S)
    verdict = await store.admit(rules_of(budget), "a", costs(1))
    assert (verdict.refused, verdict.wait_us) == (0, 0)


@pytest.mark.parametrize("rolling", [False, True])
async def test_many_windows_may_pass_unused(store, at, rolling):
    budget = a_budget(1000, time_zone="Asia/Seoul", rolling=rolling)
    at(2026, 11, 25, 12)
    await known(store, budget)
    await spend(store, 1000, budget)
    at(2029, 3, 1, 12)
    assert await admitted(store, 1000, budget)


async def test_what_is_settled_after_midnight_counts_in_the_window_of_its_admission(store, at):
    budget = a_budget(1000, time_zone="Asia/Seoul")
    at(2026, 11, 25, 23, 59, 59)
    await known(store, budget)
    verdict = await store.admit(rules_of(budget), "a", costs(900))
    at(2026, 11, 26)
    await admitted(store, 1, budget, lease="b")
    store.settle(rules_of(budget), "a", ended(verdict, 900))
    assert await money(store, budget) == [(0, 1)]


async def test_what_is_settled_after_its_hour_has_left_a_rolling_budget_counts_no_more(
    store, clock
):
    budget = a_budget(1000, rolling=True)
    await known(store, budget)
    verdict = await store.admit(rules_of(budget), "a", costs(900))
    clock.pass_s(DAY_S + 2 * 3600)
    await admitted(store, 1, budget, lease="b")
    store.settle(rules_of(budget), "a", ended(verdict, 900))
    assert await money(store, budget) == [(0, 1)]


async def test_a_clock_that_goes_back_over_midnight_forgets_nothing(store, at):
    budget = a_budget(1000, time_zone="Asia/Seoul")
    at(2026, 11, 26, 0, 0, 30)
    await known(store, budget)
    await spend(store, 700, budget)
    at(2026, 11, 25, 23, 59)
    await spend(store, 300, budget)
    assert await money(store, budget) == [(1000, 0)]
    assert not await admitted(store, 1, budget)


async def test_a_rolling_budget_comes_back_hour_by_hour(store, clock):
    budget = a_budget(1000, rolling=True)
    await known(store, budget)
    await spend(store, 400, budget)
    clock.pass_s(3 * 3600)
    await spend(store, 600, budget, lease="b")
    clock.pass_s(DAY_S - 3 * 3600)
    assert not await admitted(store, 1, budget)
    clock.pass_s(3600)
    assert await admitted(store, 400, budget)
    assert not await admitted(store, 1, budget, lease="c")


async def test_a_rolling_budget_tells_when_there_is_more(store, clock):
    budget = a_budget(1000, rolling=True)
    await known(store, budget)
    await spend(store, 1000, budget)
    verdict = await store.admit(rules_of(budget), "b", costs(1))
    clock.now += verdict.wait_us - 1
    assert not await admitted(store, 1, budget)
    clock.now += 1
    assert await admitted(store, 1, budget)


async def test_a_hold_that_nobody_renews_ends_by_itself(store, clock):
    budget = a_budget(1000)
    await known(store, budget)
    await admitted(store, 1000, budget)
    clock.now += HOLD_US - 1
    assert await money(store, budget) == [(0, 1000)]
    clock.now += 1
    assert await money(store, budget) == [(0, 0)]


async def test_a_renewed_hold_lives_on(store, clock):
    budget = a_budget(1000)
    await known(store, budget)
    await admitted(store, 600, budget)
    clock.pass_s(100)
    store.renew(rules_of(budget), "a", 600)
    clock.pass_s(100)
    assert await money(store, budget) == [(0, 600)]


async def test_a_renewal_that_was_overtaken_gives_nothing_back(store):
    budget = a_budget(1000)
    await known(store, budget)
    await admitted(store, 600, budget)
    await store.extend(rules_of(budget), "a", 600, 100)
    store.renew(rules_of(budget), "a", 600)
    assert await money(store, budget) == [(0, 700)]


async def test_what_is_settled_after_its_hold_has_ended_is_counted_and_told(store, clock):
    budget = a_budget(1000)
    await known(store, budget)
    verdict = await store.admit(rules_of(budget), "a", costs(600))
    clock.pass_s(121)
    assert await money(store, budget) == [(0, 0)]
    store.settle(rules_of(budget), "a", ended(verdict, 600))
    assert await money(store, budget) == [(600, 0)]
    assert store.late == 1


async def test_what_cost_nothing_is_never_told_late(store, clock):
    budget = a_budget(1000)
    await known(store, budget)
    verdict = await store.admit(rules_of(budget), "a", costs(600))
    clock.pass_s(121)
    await money(store, budget)
    store.settle(rules_of(budget), "a", ended(verdict, 0))
    assert await money(store, budget) == [(0, 0)]
    assert store.late == 0


async def test_more_can_be_held_as_long_as_there_is_room(store):
    budget = a_budget(1000)
    await known(store, budget)
    rules = rules_of(budget)
    await admitted(store, 600, budget)
    assert await store.extend(rules, "a", 600, 400) == 1
    assert await store.extend(rules, "a", 1000, 1) == 0
    assert await money(store, budget) == [(0, 1000)]


async def test_more_is_held_in_all_budgets_or_in_none(store):
    rules = a_budget(1000), a_budget(650, "month", number=2)
    await known(store, *rules)
    await admitted(store, 600, *rules)
    assert await store.extend(rules_of(*rules), "a", 600, 100) == 0
    assert await money(store, *rules) == [(0, 600), (0, 600)]


async def test_nothing_more_is_held_in_a_budget_that_is_not_known(store):
    assert await store.extend(rules_of(a_budget(1000)), "a", 0, 100) == UNKNOWN
    assert await money(store, a_budget(1000)) == [(-1, 0)]


async def test_a_claim_is_for_one_builder(store, clock):
    budget = a_budget(1000)
    first = await store.claim([budget], "first")
    second = await store.claim([budget], "second")
    assert (list(first.claims), list(second.claims)) == ([1], [2])


async def test_a_stale_builder_writes_nothing(store, clock):
    budget = a_budget(1000)
    await store.claim([budget], "stale")
    clock.pass_s(6)
    await store.claim([budget], "fresh")
    window = budget.window_at(clock.now)
    assert await store.build([Figures(budget, window, {window: 5})], "stale") == [False]
    assert await store.build([Figures(budget, window, {window: 7})], "fresh") == [True]
    assert await money(store, budget) == [(7, 0)]


async def test_whoever_has_built_writes_no_more(store):
    budget = a_budget(1000)
    await known(store, budget)
    await spend(store, 300, budget)
    now_us, _ = await store.claim([budget], "another")
    window = budget.window_at(now_us)
    assert list(await store.build([Figures(budget, window, {window: 0})], "test")) == [False]
    assert await money(store, budget) == [(300, 0)]


async def test_what_was_settled_for_a_builder_who_died_is_the_ledger_s(store, clock):
    budget = a_budget(1000)
    now_us, _ = await store.claim([budget], "died")
    window = budget.window_at(now_us)
    end = Settlement(costs(300), costs(0), [], [window])
    store.settle(rules_of(budget), "a", end)
    await money(store, budget)
    clock.pass_s(6)
    await store.claim([budget], "test")
    assert all(await store.build([Figures(budget, window, {window: 300})], "test"))
    assert await money(store, budget) == [(300, 0)]


@pytest.mark.parametrize("rolling", [False, True])
async def test_no_more_is_taken_back_than_was_spent(store, rolling):
    budget = a_budget(1000, rolling=rolling)
    await known(store, budget, spent=500)
    window = (await store.look(rules_of(budget))).windows[0]
    await store.lock("test", 5)
    assert list(await store.mend([Mend(budget, window, cut=700)], "test")) == [-500]
    assert await money(store, budget) == [(0, 0)]


async def test_what_is_taken_back_of_a_rolling_budget_is_of_its_newest_hours(store, clock):
    budget = a_budget(1000, rolling=True)
    await known(store, budget)
    await spend(store, 300, budget)
    clock.pass_s(3 * 3600)
    await spend(store, 200, budget, lease="b")
    window = (await store.look(rules_of(budget))).windows[0]
    await store.lock("test", 5)
    await store.mend([Mend(budget, window, cut=400)], "test")
    before = await money(store, budget)
    clock.pass_s(DAY_S - 2 * 3600)
    assert (before, await money(store, budget)) == ([(100, 0)], [(0, 0)])


async def test_scopes_and_budgets_are_counted_apart(store):
    one, other = a_budget(10), a_budget(10, number=2, scope="key:2")
    await known(store, one, other)
    await spend(store, 10, one)
    assert await admitted(store, 10, other)


async def test_tokens_and_money_are_settled_together(store):
    limit, budget = a_limit("tokens", 100), a_budget(1000)
    await known(store, budget)
    rules = rules_of(limit, budget)
    verdict = await store.admit(rules, "a", tokens(90)._replace(cost_nano=900))
    end = by(-80, verdict.newest, cost=100, windows=verdict.windows)
    store.settle(rules, "a", end)
    look = await store.look(rules)
    assert (list(look.used), list(look.spent), list(look.reserved)) == ([10], [100], [0])


async def test_the_largest_amounts_are_exact(store):
    budget = a_budget(9_000_000_000_000_000)
    await known(store, budget)
    await spend(store, 8_999_999_999_999_999, budget)
    assert not await admitted(store, 2, budget)
    assert await admitted(store, 1, budget)
