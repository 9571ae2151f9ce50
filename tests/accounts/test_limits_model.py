"""The stores against a plain log of events, and against each other, on random sequences."""

import asyncio

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from accounts.limits import LEASE_US, LocalStore, slot_us
from accounts.redis_limits import RedisStore
from tests.accounts.conftest import NOON_US, Clock, a_limit

#: 60 slots, and the one that has partly left the window.
COUNTED = 61
WINDOWS = st.sampled_from([1, 60, 3600])
PAUSES = st.one_of(st.integers(0, 2_000_000), st.integers(0, 4_000_000_000))
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
        )
        self.requests, self.tokens = Log(self.limits[0]), Log(self.limits[1])
        self.admitted = Log(self.limits[1])
        self.leases = {}
        self.open = []
        self.names = iter(range(10_000))

    @rule(pause=PAUSES)
    def pause(self, pause):
        self.clock.now += pause

    @rule(slots=st.integers(58, 62), part=st.sampled_from([-0.9, -0.5, 0, 0.5, 0.9]))
    def pause_for_about_a_window(self, slots, part):
        self.clock.now += round((slots + part) * slot_us(self.limits[0]))

    @rule(tokens=st.integers(0, 40))
    def admit(self, tokens):
        lease, now = f"lease-{next(self.names)}", self.clock.now
        expected = (
            self.requests.used(now) + 1 <= self.limits[0].amount
            and self.tokens.used(now) + tokens <= self.limits[1].amount
            and self.running() + 1 <= self.limits[2].amount
        )
        verdict = now_done(self.store.admit(self.limits, lease, tokens))
        assert (verdict.refused < 0) is expected
        if expected:
            self.requests.events.append((now, 1))
            self.tokens.events.append((now, tokens))
            self.admitted.events.append((now, tokens))
            self.leases[lease] = now + LEASE_US
            self.open.append((lease, verdict.newest, tokens, now))
        else:
            assert verdict.wait_us > 0

    @rule(which=st.integers(0, 100), real=st.integers(0, 80))
    def settle(self, which, real):
        if not self.open:
            return
        lease, slots, held, moment = self.open.pop(which % len(self.open))
        difference = real - held
        self.store.settle(self.limits, lease, slots, difference)
        self.leases.pop(lease, None)
        self.tokens.events.append((self.clock.now if difference > 0 else moment, difference))

    def running(self):
        return sum(end > self.clock.now for end in self.leases.values())

    @invariant()
    def agrees_with_the_log(self):
        if hasattr(self, "store"):
            now = self.clock.now
            look = now_done(self.store.look(self.limits))
            expected = [self.requests.used(now), self.tokens.used(now), self.running()]
            assert look.used == expected

    @invariant()
    def never_more_than_the_amount_in_any_window(self):
        if hasattr(self, "store"):
            assert self.requests.most_in_any_window() <= self.limits[0].amount


LimitsMachine.TestCase.settings = FEW
TestLimits = LimitsMachine.TestCase

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pause"), PAUSES),
        st.tuples(st.just("admit"), st.integers(0, 40)),
        st.tuples(st.just("settle"), st.integers(0, 80)),
        st.tuples(st.just("renew"), st.just(0)),
    ),
    max_size=40,
)


async def play(store, clock, limits, steps):
    """Everything that the store says on the way."""
    said, open_requests = [], []
    for number, (step, value) in enumerate(steps):
        if step == "pause":
            clock.now += value
        elif step == "admit":
            verdict = await store.admit(limits, f"lease-{number}", value)
            said.append(list(verdict))
            if verdict.refused < 0:
                open_requests.append((f"lease-{number}", verdict.newest, value))
        elif step == "settle" and open_requests:
            lease, slots, held = open_requests.pop(0)
            store.settle(limits, lease, slots, value - held)
        elif step == "renew" and open_requests:
            store.renew(limits, open_requests[-1][0])
        said.append(list(await store.look(limits)))
    return said


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS, window_s=WINDOWS)
def test_both_stores_say_the_same(redis_url, steps, window_s):
    limits = (
        a_limit("requests", 4, window_s),
        a_limit("requests", 9, 3600, scope="team:1"),
        a_limit("tokens", 60, window_s),
        a_limit("concurrency", 3),
    )
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()

    async def with_redis():
        clock = Clock()
        store = RedisStore(redis_url, clock)
        try:
            return await play(store, clock, limits, steps)
        finally:
            await store.close()

    clock = Clock()
    expected = asyncio.run(play(LocalStore(clock), clock, limits, steps))
    assert asyncio.run(with_redis()) == expected


def test_the_clock_of_the_tests_is_off_every_edge():
    assert all(NOON_US % slot_us(a_limit(window_s=window)) for window in (1, 60, 3600, 86400))
