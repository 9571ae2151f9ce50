"""What both stores promise. Each test runs on the local one and, where it is, on Redis."""

import pytest

from accounts.limits import (
    BUSY_US,
    RESERVED,
    RING,
    slot_us,
    steady_us,
    whole_after_us,
)
from accounts.local_limits import LocalStore
from accounts.rules import Need
from tests.accounts.conftest import NOON_US, a_budget, a_limit, by, costs, rules_of, tokens
from tests.accounts.test_limits_model import known

REQUESTS = a_limit("requests", 3)
TOKENS = a_limit("tokens", 100)
CONCURRENCY = a_limit("concurrency", 2)
TEAM = a_limit("requests", 5, scope="team:1")


async def granted(store, *rules, lease="a", tokens=0):
    return (await store.admit(rules_of(*rules), lease, Need(tokens, 0, 0))).refused == RESERVED


async def used(store, *limits):
    return list((await store.look(rules_of(*limits))).used)


async def test_a_limit_admits_exactly_its_amount_at_once(store):
    limit = a_limit("requests", 600)
    answers = [await granted(store, limit) for _ in range(650)]
    assert answers == [True] * 600 + [False] * 50


# Redis forgets by its own clock a window that is over.
@pytest.mark.parametrize("window_s", [5, 60, 3600, 86400])
async def test_a_window_is_whole_again_after_one_window_and_one_slot(store, clock, window_s):
    limit = a_limit("requests", 3, window_s)
    for _ in range(3):
        await granted(store, limit)
    clock.pass_s(window_s)
    assert not await granted(store, limit)
    clock.now += slot_us(limit)
    assert await granted(store, limit)


async def test_what_a_window_holds_leaves_slot_by_slot(store, clock):
    for _ in range(3):
        assert await granted(store, REQUESTS)
        clock.pass_s(10)
    assert not await granted(store, REQUESTS)
    clock.pass_s(31)
    assert [await granted(store, REQUESTS), await granted(store, REQUESTS)] == [True, False]


async def test_tokens_are_counted(store):
    assert await granted(store, TOKENS, tokens=60)
    assert not await granted(store, TOKENS, tokens=41)
    assert await granted(store, TOKENS, tokens=40)


async def test_all_limits_are_reserved_or_none(store):
    assert await granted(store, REQUESTS, TOKENS, CONCURRENCY, tokens=90)
    assert not await granted(store, REQUESTS, TOKENS, CONCURRENCY, lease="b", tokens=90)
    assert await used(store, REQUESTS, TOKENS, CONCURRENCY) == [1, 90, 1]


async def test_the_limit_that_refuses_for_the_longest_is_named(store, clock):
    short, long = a_limit("requests", 1, 1), a_limit("requests", 1, 3600)
    await granted(store, short, long)
    verdict = await store.admit(rules_of(short, long), "b", tokens(0))
    assert verdict.refused == 1
    assert verdict.wait_us > 3_600_000_000 - 60_000_000


async def test_of_limits_that_refuse_for_as_long_the_first_is_named(store):
    full = a_limit("concurrency", 0), a_limit("concurrency", 0, scope="team:1")
    assert (await store.admit(rules_of(*full), "a", tokens(0))).refused == 0


async def test_a_refusal_tells_when_to_come_back(store, clock):
    for _ in range(3):
        await granted(store, REQUESTS)
    clock.pass_s(20)
    verdict = await store.admit(rules_of(REQUESTS), "b", tokens(0))
    clock.now += verdict.wait_us - 1
    assert not await granted(store, REQUESTS)
    clock.now += 1
    assert await granted(store, REQUESTS)


@pytest.mark.parametrize("needed", [30, 50])
async def test_a_refusal_waits_until_enough_tokens_have_left(store, clock, needed):
    await granted(store, TOKENS, tokens=30)
    clock.pass_s(10)
    await granted(store, TOKENS, tokens=70)
    verdict = await store.admit(rules_of(TOKENS), "b", tokens(needed))
    clock.now += verdict.wait_us - 1
    assert not await granted(store, TOKENS, tokens=needed)
    clock.now += 1
    assert await granted(store, TOKENS, tokens=needed)


async def test_a_window_in_steady_use_holds_what_was_used_within_it(store, clock):
    seen = []
    for _ in range(10):
        await granted(store, TOKENS, tokens=10)
        seen.append(await used(store, TOKENS))
        clock.pass_s(25)
    assert seen == [[10], [20], *[[30]] * 8]


async def test_scopes_are_counted_apart(store):
    other = a_limit("requests", 3, scope="key:2")
    for _ in range(3):
        await granted(store, REQUESTS)
    assert await granted(store, other)


async def test_a_team_is_counted_over_its_keys(store):
    for number in range(5):
        assert await granted(store, a_limit("requests", 3, scope=f"key:{number}"), TEAM)
    assert not await granted(store, a_limit("requests", 3, scope="key:9"), TEAM)


async def test_windows_of_one_metric_are_counted_apart(store, clock):
    minute, hour = a_limit("requests", 2), a_limit("requests", 3, 3600)
    assert [await granted(store, minute, hour) for _ in range(3)] == [True, True, False]
    clock.pass_s(62)
    assert [await granted(store, minute, hour) for _ in range(2)] == [True, False]


async def test_so_many_run_at_the_same_time(store):
    assert await granted(store, CONCURRENCY, lease="a")
    assert await granted(store, CONCURRENCY, lease="b")
    verdict = await store.admit(rules_of(CONCURRENCY), "c", tokens(0))
    assert (verdict.refused, verdict.wait_us) == (0, BUSY_US)


async def test_settling_makes_room_for_the_next(store):
    await granted(store, CONCURRENCY, lease="a")
    await granted(store, CONCURRENCY, lease="b")
    store.settle(rules_of(CONCURRENCY), "a", by(0, [0]))
    assert await granted(store, CONCURRENCY, lease="c")


async def test_a_lease_that_nobody_renews_ends_by_itself(store, clock):
    await granted(store, CONCURRENCY, lease="a")
    clock.pass_s(59)
    assert await used(store, CONCURRENCY) == [1]
    clock.pass_s(1)
    assert await used(store, CONCURRENCY) == [0]


async def test_a_renewed_lease_lives_on(store, clock):
    await granted(store, CONCURRENCY, lease="a")
    clock.pass_s(50)
    store.renew(rules_of(REQUESTS, CONCURRENCY), "a", 0)
    clock.pass_s(50)
    assert await used(store, CONCURRENCY) == [1]


async def test_fewer_tokens_than_reserved_are_given_back(store):
    verdict = await store.admit(rules_of(TOKENS), "a", tokens(90))
    store.settle(rules_of(TOKENS), "a", by(-80, verdict.newest))
    assert await used(store, TOKENS) == [10]


async def test_more_tokens_than_reserved_are_added(store):
    verdict = await store.admit(rules_of(TOKENS), "a", tokens(10))
    store.settle(rules_of(TOKENS), "a", by(200, verdict.newest))
    assert await used(store, TOKENS) == [210]


async def test_added_tokens_count_from_when_they_are_known(store, clock):
    verdict = await store.admit(rules_of(TOKENS), "a", tokens(10))
    clock.pass_s(50)
    store.settle(rules_of(TOKENS), "a", by(70, verdict.newest))
    assert await used(store, TOKENS) == [80]
    clock.pass_s(30)
    assert await used(store, TOKENS) == [70]


@pytest.mark.parametrize("seconds", [RING, 90])
async def test_what_has_left_the_window_is_not_given_back_again(store, clock, seconds):
    verdict = await store.admit(rules_of(TOKENS), "a", tokens(50))
    clock.pass_s(seconds)
    await granted(store, TOKENS, lease="b", tokens=40)
    store.settle(rules_of(TOKENS), "a", by(-50, verdict.newest))
    assert await used(store, TOKENS) == [40]


async def test_no_more_is_given_back_than_was_there(store):
    verdict = await store.admit(rules_of(TOKENS), "a", tokens(50))
    for _ in range(3):
        store.settle(rules_of(TOKENS), "a", by(-50, verdict.newest))
    assert await used(store, TOKENS) == [0]


async def test_tokens_are_corrected_although_the_lease_has_ended(store, clock):
    verdict = await store.admit(rules_of(TOKENS, CONCURRENCY), "a", tokens(50))
    clock.pass_s(61 - 5)
    store.settle(rules_of(CONCURRENCY), "a", by(0, [0]))
    store.settle(rules_of(TOKENS, CONCURRENCY), "a", by(-20, verdict.newest))
    assert await used(store, TOKENS, CONCURRENCY) == [30, 0]


async def test_settling_leaves_requests_alone(store):
    verdict = await store.admit(rules_of(REQUESTS, TOKENS), "a", tokens(50))
    store.settle(rules_of(REQUESTS, TOKENS), "a", by(-50, verdict.newest))
    assert await used(store, REQUESTS, TOKENS) == [1, 0]


async def test_looking_reserves_nothing(store):
    for _ in range(5):
        await store.look(rules_of(REQUESTS, CONCURRENCY))
    assert await used(store, REQUESTS, CONCURRENCY) == [0, 0]


async def test_an_idle_window_is_whole_now(store):
    look = await store.look(rules_of(REQUESTS))
    assert whole_after_us(REQUESTS, look.newest[0], look.now_us) == 0


async def test_a_refused_request_does_not_put_off_when_the_window_is_whole(store, clock):
    for _ in range(3):
        await granted(store, REQUESTS)
    clock.pass_s(30)
    verdict = await store.admit(rules_of(REQUESTS), "b", tokens(0))
    after = whole_after_us(REQUESTS, verdict.newest[0], verdict.now_us)
    assert after == verdict.wait_us


async def test_a_clock_that_goes_back_a_little_forgets_nothing(store, clock):
    for _ in range(3):
        await granted(store, REQUESTS)
    clock.pass_s(-10)
    verdict = await store.admit(rules_of(REQUESTS), "b", tokens(0))
    clock.now += verdict.wait_us - 1
    assert not await granted(store, REQUESTS)
    clock.now += 1
    assert await granted(store, REQUESTS)


async def test_who_wants_more_than_a_limit_ever_has_is_told_to_wait_for_all_of_it(store):
    await granted(store, TOKENS, tokens=10)
    verdict = await store.admit(rules_of(TOKENS), "b", tokens(101))
    assert verdict.refused == 0
    assert 60_000_000 < verdict.wait_us <= RING * slot_us(TOKENS)


async def test_large_amounts_are_counted_exactly(store):
    limit = a_limit("tokens", 9_000_000_000_000_000)
    await granted(store, limit, tokens=8_999_999_999_999_999)
    assert await used(store, limit) == [8_999_999_999_999_999]
    assert [await granted(store, limit, tokens=1) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("window_s", [1, 60, 3600, 86400])
def test_the_slots_of_a_window_are_never_shorter_than_it(window_s):
    assert (RING - 1) * slot_us(a_limit(window_s=window_s)) >= window_s * 1_000_000


def test_the_steady_clock_tells_the_time_of_day():
    assert steady_us() > NOON_US


async def test_a_closed_store_starts_from_nothing(clock):
    store = LocalStore(clock)
    await granted(store, REQUESTS, CONCURRENCY)
    await store.close()
    assert await used(store, REQUESTS, CONCURRENCY) == [0, 0]


async def test_what_is_only_asked_is_not_counted(store):
    asked = rules_of(REQUESTS, TOKENS, CONCURRENCY)

    for _ in range(5):
        assert (await store.admit(asked, "", tokens(100))).refused == RESERVED

    assert await used(store, *asked.limits) == [0, 0, 0]


async def test_an_extension_that_is_only_asked_for_is_answered_as_one_that_is_made(store):
    rules = rules_of(a_budget(100))
    await known(store, rules.budgets)

    foreseen = [await store.extend(rules, "", 40, more) for more in (60, 61)]
    await store.admit(rules, "a", costs(40))

    assert [await store.extend(rules, "a", 40, more) for more in (61, 60)] == [0, 1]
    assert foreseen == [1, 0]


async def test_a_request_that_is_several_upstream_takes_as_many_places(store):
    limit = a_limit("requests", 5)
    three = Need(0, 0, 0, requests=3)

    answers = [await store.admit(rules_of(limit), lease, three) for lease in "ab"]

    assert [answer.refused for answer in answers] == [RESERVED, 0]
    assert await used(store, limit) == [3]


async def test_a_request_that_is_several_upstream_runs_once(store):
    await store.admit(rules_of(CONCURRENCY), "a", Need(0, 0, 0, requests=3))

    assert await used(store, CONCURRENCY) == [1]
