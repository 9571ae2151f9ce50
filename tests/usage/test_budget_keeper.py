"""Budgets are a cache of the ledger: built from it where unknown, corrected where they differ."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import redis
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection

from accounts import admission, budgets, degraded
from accounts.admission import admit
from accounts.errors import BudgetExhausted, LimitsUnavailable
from accounts.limits import Settlement
from accounts.local_limits import LocalStore
from accounts.models import ApiKey, Plan
from accounts.periods import to_us
from accounts.redis_limits import RedisStore
from accounts.rules import Need
from accounts.states import budget_states
from lib.ids import lowest_at, uuid7
from tests.accounts.conftest import a_budget, a_principal, costs, rules_of
from tests.factories import make_budget, make_key
from tests.soak import trials
from tests.usage.spools import OwnSpool, make_record
from usage import budget_keeper, recorder, spending
from usage.budget_keeper import Keeper
from usage.models import UsageRecord
from usage.pending import Pending

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NOTHING = Need(0, 0, 0)


def now():
    return datetime.now(UTC)


def at(moment):
    """The id of a request that came in at a moment."""
    return UUID(int=lowest_at(moment).int | uuid7().int & (1 << 62) - 1)


@pytest.fixture(params=["local", "redis"])
async def store(request, settings, monkeypatch):
    """The store that admission uses, with Redis's own clock where it is Redis."""
    monkeypatch.setattr(budget_keeper, "YOUNG_S", 0)
    monkeypatch.setattr(budget_keeper, "REST_S", 0.01)
    if request.param == "local":
        made = LocalStore(lambda: time.time_ns() // 1000)
    else:
        server = request.getfixturevalue("redis_server")
        with redis.Redis.from_url(server.url()) as client:
            client.flushall()
        made = RedisStore(server.url())
    monkeypatch.setattr(admission, "_store", made)
    yield made
    await made.close()


@pytest.fixture
def keeper(store, own, monkeypatch):
    """A keeper beside a recorder that ships when it is told to."""
    monkeypatch.setattr(recorder, "_recorder", own.recorder)
    monkeypatch.setattr(budgets, "counters", budgets.Counters())
    monkeypatch.setattr(budget_keeper, "counters", budgets.counters)
    budget_keeper.start()
    yield budget_keeper.keeper
    budgets.rebuild_with(None)
    admission.tell_with(str)


@pytest.fixture
def spent(own):
    """Write down requests of key 1 that cost so much, and bring them to the ledger."""

    async def spend(*costs_nano, moment=None, **fields):
        for cost in costs_nano:
            record = make_record(request_id=at(moment or now()), cost_nano=cost, **fields)
            own.recorder.open(record)
            own.recorder.close(record)
        await shipped(own)

    return spend


def pend(own, cost, **fields):
    record = make_record(cost_nano=cost, **fields)
    own.recorder.open(record)
    own.recorder.close(record)


async def shipped(own):
    await sync_to_async(_ship, thread_sensitive=False)(own)


def _ship(own):
    own.ship()
    connection.close()


async def looked(store, budget):
    look = await store.look(rules_of(budget))
    return look.spent[0]


async def used_up(store, rules, cost, lease="a"):
    verdict = await store.admit(rules, lease, costs(cost))
    end = Settlement(costs(cost), costs(cost), verdict.newest, verdict.windows)
    store.settle(rules, lease, end)
    return verdict


async def test_an_unknown_budget_is_built_from_the_ledger(keeper, store, spent):
    await spent(300, 400)
    budget = a_budget(10_000, "month")

    await keeper.make_known([budget])

    assert await looked(store, budget) == 700


async def test_what_is_on_its_way_to_the_ledger_counts(keeper, store, spent, own):
    await spent(300)
    pend(own, 50)
    budget = a_budget(10_000, "day")

    await keeper.make_known([budget])

    assert await looked(store, budget) == 350


async def test_what_has_come_to_the_ledger_is_not_pending_any_more(own):
    pend(own, 50)
    assert own.recorder.pending.sums()

    await shipped(own)

    assert own.recorder.pending.sums() == {}


@pytest.mark.parametrize("scope", ["key:1", "team:1", "user:1"])
async def test_each_scope_has_its_own_sum(keeper, store, spent, own, scope):
    other = {"key:1": {"key_id": 2}, "team:1": {"team_id": 2}, "user:1": {"user_id": 2}}[scope]
    await spent(300, user_id=1)
    await spent(4_000, **{"user_id": 1, **other})
    pend(own, 50, user_id=1)
    pend(own, 600, **{"user_id": 1, **other})
    budget = a_budget(10_000, "total", scope=scope)

    await keeper.make_known([budget])

    assert await looked(store, budget) == 350


async def test_what_was_spent_before_the_window_does_not_count(keeper, store, spent):
    await spent(300, moment=now() - 40 * DAY)
    budget = a_budget(10_000, "month")

    await keeper.make_known([budget])

    assert await looked(store, budget) == 0


def zone_at(hour):
    """A time zone where it is now about so late."""
    return next(
        name for name in (f"Etc/GMT{offset:+d}" for offset in range(-14, 13))
        if now().astimezone(ZoneInfo(name)).hour == hour
    )  # fmt: skip


async def test_another_time_zone_counts_anew_from_its_own_midnight(keeper, store, spent):
    await spent(300, moment=now() - 3 * HOUR)
    noon, morning = (a_budget(10_000, time_zone=zone_at(hour)) for hour in (12, 1))
    await keeper.make_known([noon])
    assert await looked(store, morning) == -1

    await keeper.make_known([morning])

    assert [await looked(store, noon), await looked(store, morning)] == [300, 0]


async def test_a_rolling_budget_counts_whole_hours_back(keeper, store, spent):
    await spent(1, moment=now() - 26 * HOUR)
    await spent(20, moment=now() - 23 * HOUR)
    await spent(300)
    budget = a_budget(10_000, "day", rolling=True)

    await keeper.make_known([budget])

    assert await looked(store, budget) == 320


async def test_a_rolling_budget_that_began_late_counts_from_then(keeper, store, spent):
    began = now() - 5 * HOUR - timedelta(minutes=10)
    await spent(1, moment=began - timedelta(minutes=1))
    await spent(20, moment=began + timedelta(minutes=1))
    budget = a_budget(10_000, "week", rolling=True, counts_from_us=to_us(began))

    await keeper.make_known([budget])

    assert await looked(store, budget) == 20


async def test_budgets_that_end_together_keep_their_own_windows(keeper, store):
    sunday_noon = to_us(datetime(2026, 11, 29, 12, tzinfo=UTC))
    since = sunday_noon - 3_600_000_000
    rules = [a_budget(1, period, counts_from_us=since) for period in ("day", "week")]

    figures = await sync_to_async(_ledger_figures, thread_sensitive=False)(rules, sunday_noon)

    assert [one.window for one in figures] == [rule.window_at(sunday_noon) for rule in rules]


def _ledger_figures(rules, now_us):
    try:
        return budget_keeper.ledger_figures(rules, now_us)
    finally:
        connection.close()


async def test_what_is_settled_while_a_budget_is_built_counts(keeper, store, spent, monkeypatch):
    budget = a_budget(10_000, "month")
    rules = rules_of(budget)
    await keeper.make_known([budget])
    verdict = await store.admit(rules, "a", costs(70))
    await forget(store)
    told = spending.spent_by_all

    def slowly(*asked):
        end = Settlement(costs(30), costs(70), verdict.newest, verdict.windows)
        loop.call_soon_threadsafe(store.settle, rules, "a", end)
        time.sleep(0.2)
        return told(*asked)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(spending, "spent_by_all", slowly)
    await keeper.make_known([budget])

    assert await looked(store, budget) == 30


async def forget(store):
    """Make the store as empty as a Redis that was restarted."""
    if isinstance(store, LocalStore):
        store.forget_budgets()
    else:
        with redis.Redis(port=int(store._line._options["port"])) as client:
            client.flushall()


async def test_many_who_ask_at_once_cause_one_rebuild(keeper, store, spent):
    budget = a_budget(10_000, "month")

    await asyncio.gather(*(keeper.make_known([budget]) for _ in range(20)))

    assert budgets.counters.rebuilds == 1


async def test_two_instances_build_a_budget_once(keeper, store, spent):
    await spent(300)
    other, budget = Keeper(), a_budget(10_000, "month")

    await asyncio.gather(keeper.make_known([budget]), other.make_known([budget]))

    assert (budgets.counters.rebuilds, await looked(store, budget)) == (1, 300)


async def test_a_request_waits_until_its_budget_is_known(keeper, store, spent):
    await spent(300)
    principal = a_principal(budgets=(a_budget(1_000, "month"),))

    reservation = await admit(principal, uuid7(), "echo", costs(700))

    assert reservation.held_nano == 700
    with pytest.raises(BudgetExhausted):
        await admit(principal, uuid7(), "echo", costs(701))


async def test_a_request_is_refused_where_the_ledger_does_not_answer(keeper, store, monkeypatch):
    def fail(*_):
        raise OperationalError

    monkeypatch.setattr(spending, "spent_by_all", fail)
    principal = a_principal(budgets=(a_budget(1_000, "month"),))

    with pytest.raises(LimitsUnavailable):
        await admit(principal, uuid7(), "echo", costs(700))


async def test_a_request_does_not_wait_for_ever(keeper, store, monkeypatch):
    monkeypatch.setattr(spending, "spent_by_all", lambda *_: time.sleep(0.5))
    monkeypatch.setattr(budgets, "REBUILD_WITHIN_S", 0.1)
    principal = a_principal(budgets=(a_budget(1_000, "month"),))

    with pytest.raises(LimitsUnavailable):
        await admit(principal, uuid7(), "echo", costs(700))
    await keeper._building


async def test_an_unknown_budget_has_no_state(keeper, store):
    (state,) = await budget_states(a_principal(budgets=(a_budget(1_000, "month"),)))

    assert (state.amount_nano, state.spent_nano, state.remaining_nano) == (1_000, None, None)


@pytest.fixture
async def counted(keeper, store, key):
    """A budget of a real key, known, of which nothing was spent."""
    row = await sync_to_async(make_budget, thread_sensitive=False)(key=key, amount="0.000100")
    (budget,) = await sync_to_async(_every_budget, thread_sensitive=False)()
    assert budget.id == row.pk
    await keeper.make_known([budget])
    return budget


def _every_budget():
    try:
        return budget_keeper.every_budget()
    finally:
        connection.close()


async def test_a_store_that_has_less_than_the_ledger_is_raised(keeper, store, counted, spent, key):
    await spent(30_000, key_id=key.pk)

    await keeper.compare()

    assert await looked(store, counted) == 30_000
    assert (budgets.counters.raised, budgets.counters.drifts) == (1, 1)


async def test_a_store_that_has_more_is_lowered_at_rest(keeper, store, counted):
    await used_up(store, rules_of(counted), 40_000)

    await keeper.compare()
    await keeper.compare()

    assert await looked(store, counted) == 0
    assert budgets.counters.lowered == 1


async def test_what_nobody_tells_of_has_a_minute_to_come_to_the_ledger(
    keeper, store, counted, spent, key
):
    await used_up(store, rules_of(counted), 40_000)

    await keeper.compare()

    assert await looked(store, counted) == 40_000
    await spent(40_000, key_id=key.pk)
    await keeper.compare()
    assert await looked(store, counted) == 40_000


async def test_what_is_pending_is_not_in_excess(keeper, store, counted, own, key):
    await used_up(store, rules_of(counted), 40_000)
    pend(own, 40_000, key_id=key.pk)

    await keeper.compare()

    assert await looked(store, counted) == 40_000


async def test_under_load_an_excess_is_lowered_when_seen_three_times(
    keeper, store, counted, own, key
):
    await used_up(store, rules_of(counted), 40_000)
    pend(own, 10_000, key_id=key.pk)
    seen = []
    for _ in range(3):
        await keeper.compare()
        seen.append(await looked(store, counted))

    assert seen == [40_000, 40_000, 10_000]


async def test_what_agrees_is_left_alone(keeper, store, counted, spent, key):
    await used_up(store, rules_of(counted), 40_000)
    await spent(40_000, key_id=key.pk)

    await keeper.compare()

    assert await looked(store, counted) == 40_000
    assert (budgets.counters.raised, budgets.counters.lowered) == (0, 0)


async def test_budgets_that_nobody_has_asked_for_are_built_by_the_comparison(keeper, store, team):
    row = await sync_to_async(make_budget, thread_sensitive=False)(team=team)
    (budget,) = await sync_to_async(_every_budget, thread_sensitive=False)()

    await keeper.compare()

    assert (budget.id, await looked(store, budget)) == (row.pk, 0)


async def test_a_comparison_leaves_the_ledger_as_it_is(keeper, store, counted, spent, key):
    await spent(30_000, key_id=key.pk)
    await keeper.compare()

    count = await sync_to_async(_count, thread_sensitive=False)()

    assert count == 1


def _count():
    try:
        return UsageRecord.objects.count()
    finally:
        connection.close()


async def test_a_plan_s_budget_counts_for_each_of_its_keys(keeper, store, team):
    def make():
        try:
            plan = Plan.objects.create(name="basic")
            own = [make_key(team) for _ in range(2)]
            ApiKey.objects.update(plan=plan)
            make_budget(plan=plan)
            make_budget(key=own[1], amount=3)
            return own
        finally:
            connection.close()

    keys = await sync_to_async(make, thread_sensitive=False)()
    every = await sync_to_async(_every_budget, thread_sensitive=False)()

    told = {budget.scope: budget.amount_nano for budget in every}
    assert told == {f"key:{keys[0].pk}": 10 * 10**9, f"key:{keys[1].pk}": 3 * 10**9}


SCOPES = trials(500, 10_000)


@pytest.fixture
async def replicas(own, monkeypatch, redis_server, settings, tmp_path):
    """Two replicas as far as budgets go: this one, and one that only announces."""
    with redis.Redis.from_url(redis_server.url()) as client:
        client.flushall()
    monkeypatch.setattr(recorder, "_recorder", own.recorder)
    ours, other = RedisStore(redis_server.url()), RedisStore(redis_server.url())
    monkeypatch.setattr(admission, "_store", ours)
    monkeypatch.setattr(budgets, "counters", budgets.Counters())
    monkeypatch.setattr(budget_keeper, "counters", budgets.counters)
    budget_keeper.start()
    await admission.start()
    second = Second(other, OwnSpool(tmp_path / "second"))
    beating = asyncio.create_task(second.beat())
    await until_both_are_known(monkeypatch, ours)
    yield ours, second
    beating.cancel()
    await admission.stop()
    await other.close()
    second.spool.end()
    budgets.rebuild_with(None)
    admission.tell_with(str)


class Second:
    """Another replica, as far as it is heard."""

    def __init__(self, store, spool):
        self.store = store
        self.spool = spool
        self.told = Pending()
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._speaking = asyncio.Lock()

    def pend(self, record):
        self.told.add(record, self.spool.spool.append(b"C{}"))

    async def beat(self):
        while True:
            await self._speaks.wait()
            async with self._speaking:
                with contextlib.suppress(LimitsUnavailable):
                    await self.store.pulse("second", self.told.told())
            await asyncio.sleep(admission.PULSE_EVERY_S)

    async def stand_still(self):
        self._speaks.clear()
        async with self._speaking:
            pass

    def go_on(self):
        self._speaks.set()


async def until_both_are_known(monkeypatch, store):
    """As after a while of which tests have none."""
    with monkeypatch.context() as patch:
        patch.setattr(degraded, "HEARD_ALL_S", 0)
        async with asyncio.timeout(30):
            while admission.replicas() < 2:
                await asyncio.sleep(0.02)
                await admission.announce(store)


@pytest.mark.promise
async def test_r37_a_redis_restarted_empty_is_built_from_the_ledger_and_what_is_pending(
    replicas, redis_server, own, spent
):
    _, second = replicas
    rules = [a_budget(10**9, "month", number=n, scope=f"key:{n}") for n in range(1, SCOPES + 1)]
    await budget_keeper.keeper.make_known(rules)
    await spent(300, 20, key_id=7, team_id=70)
    pend(own, 4_000, key_id=7, team_id=70)
    second.pend(make_record(cost_nano=50_000, key_id=7, team_id=70))
    held = await admit(a_principal(budgets=(rules[6],)), uuid7(), "echo", costs(9))

    await asyncio.to_thread(redis_server.halt)
    await asyncio.to_thread(redis_server.start)
    began = time.monotonic()
    refused = 0
    async with asyncio.timeout(30):
        while True:
            try:
                again = await admit(a_principal(budgets=(rules[6],)), uuid7(), "echo", costs(1))
                break
            except LimitsUnavailable:
                refused += 1
                await asyncio.sleep(0.05)
    opened = time.monotonic() - began
    await budget_keeper.keeper.make_known(rules)
    took = time.monotonic() - began

    looks = await budget_keeper._looks(rules)
    sums = [nano for _, look in looks for nano in look.spent]
    holds = [nano for _, look in looks for nano in look.reserved]
    print(f"\n{SCOPES} budgets known {took:.2f} s after Redis came back empty; the first request "
          f"after {opened:.2f} s; {refused} refused until then")  # fmt: skip
    assert sums[6] == 54_320
    assert sum(sums) == 54_320
    assert (sum(holds), held.held_nano + again.held_nano) == (10, 10)


@pytest.fixture
def emptied(monkeypatch, redis_server):
    """A function that takes everything from Redis, of which nobody is then waited for by time."""

    def flush():
        for patience in ("YOUNG_S", "ANNOUNCED_WITHIN_S"):
            monkeypatch.setattr(budget_keeper, patience, 0)
        with redis.Redis.from_url(redis_server.url()) as client:
            client.flushall()

    return flush


async def test_r37_a_replica_that_stands_still_as_redis_comes_back_is_waited_for(replicas, emptied):
    _, second = replicas
    budget = a_budget(10**9, "month", scope="key:7")
    second.pend(make_record(cost_nano=50_000, key_id=7, team_id=70))
    await second.stand_still()
    emptied()

    building = asyncio.create_task(budget_keeper.keeper.make_known([budget]))
    await asyncio.sleep(0.5)
    was_built = building.done()
    second.go_on()
    await building

    [(_, look)] = await budget_keeper._looks([budget])
    assert (was_built, list(look.spent)) == (False, [50_000])


async def test_r37_a_replica_that_is_gone_is_not_waited_for_for_ever(
    replicas, emptied, monkeypatch
):
    _, second = replicas
    monkeypatch.setattr(budget_keeper, "HEARD_ALL_S", 0.2)
    monkeypatch.setattr(degraded, "HEARD_ALL_S", float("inf"))
    budget = a_budget(10**9, "month", scope="key:7")
    await second.stand_still()
    emptied()

    async with asyncio.timeout(30):
        await budget_keeper.keeper.make_known([budget])

    [(_, look)] = await budget_keeper._looks([budget])
    assert list(look.spent) == [0]
