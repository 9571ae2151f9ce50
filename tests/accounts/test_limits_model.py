"""The stores against a plain log of events, and against each other, on random sequences."""

import asyncio

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from accounts.admission import NO_LEASE
from accounts.limits import (
    LEASE_US,
    RESERVED,
    Figures,
    Mend,
    Settlement,
    slot_us,
)
from accounts.local_limits import LocalStore
from accounts.purses import HOLD_US
from accounts.redis_limits import RedisStore
from accounts.rules import Need, Raise
from tests.accounts.conftest import NOON_US, Clock, a_budget, a_limit, rules_of

#: 60 slots, and the one that has partly left the window.
COUNTED = 61
DAY_US = 86_400_000_000
WINDOWS = st.sampled_from([1, 60, 3600])
PAUSES = st.one_of(
    st.integers(0, 2_000_000), st.integers(0, 4_000_000_000), st.integers(0, 3 * DAY_US)
)
NEEDS = st.builds(
    Need, st.integers(0, 30), st.integers(0, 10), st.integers(0, 40), st.integers(1, 3)
)
FEW = settings(max_examples=60, stateful_step_count=40, deadline=None)


def now_done(coroutine):
    """What a coroutine returns that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("The local store must not wait.")


class Log:
    """Every event with its moment. Slow, and plainly right."""

    def __init__(self, limit):
        self.limit = limit
        self.events = []

    def slot(self, now):
        return now // slot_us(self.limit)

    def used(self, now):
        oldest = self.slot(now) - COUNTED
        return sum(amount for moment, amount in self.events if self.slot(moment) > oldest)

    def most_in_any_window(self):
        window = self.limit.window_s * 1_000_000
        return max(
            (
                sum(a for moment, a in self.events if start <= moment < start + window)
                for start, _ in self.events
            ),
            default=0,
        )


class Spending:
    """What was spent on one budget, each with the moment of its admission, and who holds what."""

    def __init__(self, budget):
        self.budget = budget
        self.events = []
        self.holds = {}

    def spent(self, now):
        window = self.budget.window_at(now)
        kept = self.budget.ring.slots
        windows = range(window - kept, window + 1) if kept else [window]
        return sum(amount for at, amount in self.events if self.budget.window_at(at) in windows)

    def reserved(self, now):
        return sum(amount for amount, end in self.holds.values() if end > now)

    def has_room(self, cost, now):
        whole = self.spent(now) + self.reserved(now) + cost
        return not self.budget.hard or not cost or whole <= self.budget.amount_at(now)


class LimitsMachine(RuleBasedStateMachine):
    """Requests come, end and pause as they like; the store agrees with the log at each step."""

    @initialize(window_s=WINDOWS, requests=st.integers(1, 6), tokens=st.integers(1, 60))
    def begin(self, window_s, requests, tokens):
        self.clock = Clock()
        self.store = LocalStore(self.clock)
        self.limits = (
            a_limit("requests", requests, window_s),
            a_limit("tokens", tokens, window_s),
            a_limit("concurrency", 3),
            a_limit("input_tokens", tokens, window_s),
            a_limit("output_tokens", tokens, window_s, model="gpt-*"),
        )
        raised = Raise(NOON_US + DAY_US // 2, NOON_US + DAY_US, 50)
        self.budgets = (
            a_budget(70, "day", time_zone="Asia/Seoul", raises=(raised,)),
            a_budget(90, "week", number=2, rolling=True),
            a_budget(50, "month", number=3, hard=False),
            a_budget(500, "total", number=4),
        )
        self.rules = rules_of(*self.limits, *self.budgets)
        self.requests = Log(self.limits[0])
        self.used = [Log(self.limits[index]) for index in (1, 3, 4)]
        self.spending = [Spending(budget) for budget in self.budgets]
        self.leases = {}
        self.open = []
        self.names = iter(range(10_000))
        now_done(known(self.store, self.budgets))

    @rule(pause=PAUSES)
    def pause(self, pause):
        self.clock.now += pause

    @rule(slots=st.integers(58, 62), part=st.sampled_from([-0.9, -0.5, 0, 0.5, 0.9]))
    def pause_for_about_a_window(self, slots, part):
        self.clock.now += round((slots + part) * slot_us(self.limits[0]))

    @rule(need=NEEDS)
    def admit(self, need):
        lease, now = f"lease-{next(self.names)}", self.clock.now
        expected = (
            self.requests.used(now) + need.requests <= self.limits[0].amount
            and all(
                log.used(now) + need.of(log.limit.metric) <= log.limit.amount for log in self.used
            )
            and self.running() + 1 <= self.limits[2].amount
            and all(one.has_room(need.cost_nano, now) for one in self.spending)
        )
        foreseen = now_done(self.store.admit(self.rules, NO_LEASE, need))
        verdict = now_done(self.store.admit(self.rules, lease, need))
        assert foreseen == verdict
        assert (verdict.refused == RESERVED) is expected
        if not expected:
            return
        self.requests.events.append((now, need.requests))
        for log in self.used:
            log.events.append((now, need.of(log.limit.metric)))
        for one in self.spending:
            one.holds[lease] = need.cost_nano, now + HOLD_US
        self.leases[lease] = now + LEASE_US
        self.open.append((lease, verdict, need, now))

    @rule(which=st.integers(0, 100), used=NEEDS)
    def settle(self, which, used):
        if not self.open:
            return
        lease, verdict, held, moment = self.open.pop(which % len(self.open))
        end = Settlement(used, held, verdict.newest, verdict.windows)
        self.store.settle(self.rules, lease, end)
        self.leases.pop(lease, None)
        for log in self.used:
            difference = used.of(log.limit.metric) - held.of(log.limit.metric)
            log.events.append((self.clock.now if difference > 0 else moment, difference))
        for one in self.spending:
            one.holds.pop(lease, None)
            one.events.append((moment, used.cost_nano))

    @rule(which=st.integers(0, 100), more=st.integers(1, 30))
    def extend(self, which, more):
        if not self.open:
            return
        index = which % len(self.open)
        lease, verdict, held, moment = self.open[index]
        now = self.clock.now
        expected = all(one.has_room(self._added(one, lease, held, more), now)
                       for one in self.spending)  # fmt: skip
        answer = now_done(self.store.extend(self.rules, lease, held.cost_nano, more))
        assert answer == expected
        if expected:
            held = held._replace(cost_nano=held.cost_nano + more)
            self.open[index] = lease, verdict, held, moment
            for one in self.spending:
                one.holds[lease] = held.cost_nano, now + HOLD_US

    def _added(self, one, lease, held, more):
        amount, end = one.holds.get(lease, (0, 0))
        return held.cost_nano + more - (amount if end > self.clock.now else 0)

    @rule()
    def renew(self):
        for lease, _, held, _ in self.open:
            self.store.renew(self.rules, lease, held.cost_nano)
            self.leases[lease] = self.clock.now + LEASE_US
            for one in self.spending:
                one.holds[lease] = held.cost_nano, self.clock.now + HOLD_US

    def running(self):
        return sum(end > self.clock.now for end in self.leases.values())

    @invariant()
    def agrees_with_the_log(self):
        if hasattr(self, "store"):
            now = self.clock.now
            look = now_done(self.store.look(self.rules))
            tokens, asked, answered = (log.used(now) for log in self.used)
            assert look.used == [
                self.requests.used(now), tokens, self.running(), asked, answered
            ]  # fmt: skip
            assert look.spent == [one.spent(now) for one in self.spending]
            assert look.reserved == [one.reserved(now) for one in self.spending]

    @invariant()
    def never_more_than_the_amount_in_any_window(self):
        if hasattr(self, "store"):
            assert self.requests.most_in_any_window() <= self.limits[0].amount


LimitsMachine.TestCase.settings = FEW
TestLimits = LimitsMachine.TestCase

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pause"), PAUSES),
        st.tuples(st.just("admit"), NEEDS),
        st.tuples(st.just("settle"), NEEDS),
        st.tuples(st.just("extend"), st.integers(1, 30)),
        st.tuples(st.just("renew"), st.just(0)),
        st.tuples(st.just("build"), st.integers(0, 90)),
        st.tuples(st.just("lift"), st.integers(0, 90)),
        st.tuples(st.just("lower"), st.integers(1, 40)),
    ),
    max_size=40,
)


async def known(store, budgets, spent=0):
    """Make budgets known, all of which was spent in the present window."""
    now_us, claims = await store.claim(budgets, "test")
    windows = [budget.window_at(now_us) for budget in budgets]
    figures = [
        Figures(budget, window, {window: spent})
        for budget, window, claim in zip(budgets, windows, claims, strict=True)
        if claim == 1
    ]
    return await store.build(figures, "test")


class Play:
    """One sequence of steps on one store, and everything that the store says on the way."""

    def __init__(self, store, clock, rules):
        self.store, self.clock, self.rules = store, clock, rules
        self.running = []
        self.names = (f"lease-{number}" for number in range(10_000))

    async def said(self, steps):
        answers = []
        for step, value in steps:
            answers.append(await getattr(self, step)(value))
            answers.append(list(await self.store.look(self.rules)))
        return [*answers, self.store.late]

    async def pause(self, length):
        self.clock.now += length

    async def build(self, spent):
        return await known(self.store, self.rules.budgets, spent)

    async def lift(self, floor):
        return await self._mend(floor=floor)

    async def lower(self, cut):
        return await self._mend(cut=cut)

    async def _mend(self, **how):
        windows = (await self.store.look(self.rules)).windows
        budgets = zip(self.rules.budgets, windows, strict=True)
        await self.store.lock("test", 5)
        return await self.store.mend([Mend(*one, **how) for one in budgets], "test")

    async def admit(self, need):
        lease = next(self.names)
        foreseen = await self.store.admit(self.rules, NO_LEASE, need)
        verdict = await self.store.admit(self.rules, lease, need)
        assert foreseen == verdict
        if verdict.refused == RESERVED:
            self.running.append((lease, verdict, need))
        return [list(part) if isinstance(part, list | tuple) else part for part in verdict]

    async def extend(self, more):
        for lease, _, held in self.running[:1]:
            return await self.store.extend(self.rules, lease, held.cost_nano, more)
        return None

    async def settle(self, used):
        for lease, verdict, held in self.running[:1]:
            end = Settlement(used, held, verdict.newest, verdict.windows)
            self.store.settle(self.rules, lease, end)
        del self.running[:1]

    async def renew(self, _):
        for lease, _, held in self.running[-1:]:
            self.store.renew(self.rules, lease, held.cost_nano)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS, window_s=WINDOWS)
def test_both_stores_say_the_same(redis_url, steps, window_s):
    everything = (
        a_limit("requests", 4, window_s),
        a_limit("requests", 9, 3600, scope="team:1", model="gpt-*"),
        a_limit("tokens", 60, window_s),
        a_limit("input_tokens", 40, window_s),
        a_limit("output_tokens", 20, window_s),
        a_limit("concurrency", 3),
        a_budget(60, "day", time_zone="America/New_York",
                 raises=(Raise(NOON_US, NOON_US + DAY_US, 30),)),
        a_budget(90, "day", number=2, rolling=True),
        a_budget(90, "month", number=3, rolling=True),
        a_budget(50, "month", number=4, hard=False),
        a_budget(500, "total", number=5),
    )  # fmt: skip
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()

    async def with_redis():
        clock = Clock()
        store = RedisStore(redis_url, clock)
        try:
            return await Play(store, clock, rules_of(*everything)).said(steps)
        finally:
            await store.close()

    clock = Clock()
    expected = asyncio.run(Play(LocalStore(clock), clock, rules_of(*everything)).said(steps))
    assert asyncio.run(with_redis()) == expected


def test_the_clock_of_the_tests_is_off_every_edge():
    assert all(NOON_US % slot_us(a_limit(window_s=window)) for window in (1, 60, 3600, 86400))
