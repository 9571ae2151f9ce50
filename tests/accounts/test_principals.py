import asyncio
import threading
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection
from django.utils import timezone

from accounts import lookups, principals
from accounts.errors import IdentityUnavailable, InvalidApiKey
from accounts.keys import disable_key, enable_key, issue_key, revoke_key, rotate_key
from accounts.lookups import Lookups
from accounts.models import ApiKey, Plan, Team
from accounts.principals import Known, authenticate, authenticate_cached, reload_known
from registry import snapshot
from tests.accounts.conftest import a_limit, a_principal
from tests.factories import (
    make_budget,
    make_key,
    make_limit,
    make_team,
    make_user,
    raise_budget,
)

pytestmark = pytest.mark.django_db(transaction=True)


def in_thread(function):
    """The function, to be awaited; its connection goes back to the pool."""

    def work(*arguments, **fields):
        try:
            return function(*arguments, **fields)
        finally:
            connection.close()

    return sync_to_async(work, thread_sensitive=False)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    fresh = Known()
    monkeypatch.setattr(principals, "_known", fresh)
    monkeypatch.setattr(
        principals, "_lookups", Lookups(lambda digests: principals._look_up(digests))
    )
    return fresh


@pytest.fixture
def reads(monkeypatch):
    """How many digests each reading of the database asked for."""
    asked = []
    read = principals._read

    def counted(digests):
        asked.append(len(digests))
        return read(digests)

    monkeypatch.setattr(principals, "_read", counted)
    return asked


@pytest.fixture
def database_away(monkeypatch):
    def fail(digests):
        raise DatabaseError("could not connect to host db.internal")

    return lambda: monkeypatch.setattr(principals, "_read", fail)


async def refused(secret):
    try:
        await authenticate(secret)
    except InvalidApiKey:
        return True
    return False


async def change(function, *arguments):
    """Change something, and load it as the watcher does."""
    await in_thread(function)(*arguments)
    await in_thread(snapshot.refresh)()


async def test_a_principal_says_who_is_calling(key, team):
    principal = await authenticate(key.secret)
    assert (principal.key_id, principal.key_name) == (key.pk, "notebook")
    assert (principal.team_id, principal.team_name) == (team.pk, "research")
    assert (principal.user_id, principal.user_name) == (None, "")


async def test_a_principal_has_its_owner(team, alice):
    key = await in_thread(make_key)(team, owner=alice)
    principal = await authenticate(key.secret)
    assert (principal.user_id, principal.user_name) == (alice.pk, "alice")


async def test_the_limits_of_key_team_and_owner_are_known(team, alice):
    key = await in_thread(make_key)(team, owner=alice)
    for scope in ({"key": key}, {"team": team}, {"user": alice}):
        await in_thread(make_limit)(**scope)
    await in_thread(make_limit)(team=await in_thread(make_team)())
    principal = await authenticate(key.secret)
    scopes = [limit.scope for limit in principal.limits]
    assert scopes == [f"key:{key.pk}", f"team:{team.pk}", f"user:{alice.pk}"]


async def test_the_second_call_asks_nobody(key, reads):
    await authenticate(key.secret)
    await authenticate(key.secret)
    assert len(reads) == 1


def test_a_look_up_is_one_query_and_three_for_limits_budgets_and_raises(
    key, django_assert_num_queries
):
    for number in range(3):
        raised = make_budget(amount=number, key=make_key(key.team))
        raise_budget(raised, 1)
    raise_budget(make_budget(key=key), 1)
    with django_assert_num_queries(4):
        principals._read([key.digest])


async def test_the_warm_path_knows_only_who_has_called(key):
    assert authenticate_cached(key.secret) is None
    principal = await authenticate(key.secret)
    assert authenticate_cached(key.secret) is principal


@pytest.mark.parametrize("secret", ["", "x", "sk-courier-" + "0" * 57, "\udcff" * 40])
async def test_a_malformed_secret_is_refused_without_a_query(secret, reads):
    assert await refused(secret)
    assert reads == []


async def test_an_unknown_secret_is_refused(db):
    assert await refused("x" * 40)


async def test_an_unknown_secret_is_asked_for_once(reads):
    for _ in range(3):
        assert await refused("x" * 40)
    assert reads == [1]


async def test_a_key_that_was_unknown_works_after_the_next_change(team):
    secret = "a-secret-that-somebody-brought-along"
    assert await refused(secret)
    await change(lambda: issue_key(team, "own", secret=secret))
    assert not await refused(secret)


@pytest.mark.parametrize("end", [revoke_key, disable_key])
async def test_a_key_that_has_ended_is_refused(key, end):
    await in_thread(end)(key)
    assert await refused(key.secret)


@pytest.mark.parametrize("end", [revoke_key, disable_key])
async def test_a_known_key_that_ends_is_gone_with_the_next_snapshot(key, end):
    await authenticate(key.secret)
    await change(end, key)
    assert authenticate_cached(key.secret) is None
    assert await refused(key.secret)


async def test_a_known_key_has_ended_before_the_new_snapshot_is_in_force(key):
    seen = []
    await authenticate(key.secret)
    await in_thread(snapshot.refresh)()
    before = snapshot.current()
    snapshot.on_change(
        lambda: seen.append((snapshot.current() is before, authenticate_cached(key.secret)))
    )
    await change(revoke_key, key)
    assert seen == [(True, None)]


async def test_an_expired_key_is_refused(team):
    key = await in_thread(make_key)(team, expires_at=timezone.now() - timedelta(seconds=1))
    assert await refused(key.secret)


async def test_a_known_key_that_expires_is_refused_without_a_change(key):
    await authenticate(key.secret)
    past = timezone.now() - timedelta(seconds=1)
    await in_thread(ApiKey.objects.filter(pk=key.pk).update)(expires_at=past)
    digest = principals.digest(key.secret)
    principals._known.learn(digest, a_principal(expires_at=past), principals._known.generation)
    assert authenticate_cached(key.secret) is None
    assert await refused(key.secret)


async def test_the_key_of_an_inactive_person_is_refused(team, alice):
    key = await in_thread(make_key)(team, owner=alice)
    await authenticate(key.secret)
    alice.is_active = False
    await change(alice.save)
    assert await refused(key.secret)


async def test_both_secrets_work_during_the_grace_period(key):
    new = await in_thread(rotate_key)(key, timedelta(hours=1))
    former, current = await authenticate(key.secret), await authenticate(new)
    assert former.key_id == current.key_id
    assert former.public_id != current.public_id


async def test_a_former_secret_ends_with_its_grace_period(key):
    await in_thread(rotate_key)(key, timedelta(hours=1))
    principal = await authenticate(key.secret)
    await in_thread(key.refresh_from_db)()
    assert principal.expires_at == key.previous_until


async def test_a_former_secret_never_outlives_its_key(team):
    end = timezone.now() + timedelta(minutes=1)
    key = await in_thread(make_key)(team, expires_at=end)
    await in_thread(rotate_key)(key, timedelta(hours=1))
    assert (await authenticate(key.secret)).expires_at == end


async def test_a_former_secret_is_refused_after_its_grace_period(key):
    await in_thread(rotate_key)(key, timedelta(hours=1))
    past = timezone.now() - timedelta(seconds=1)
    await in_thread(ApiKey.objects.filter(pk=key.pk).update)(previous_until=past)
    assert await refused(key.secret)


async def test_a_known_key_works_on_without_the_database(key, database_away):
    await authenticate(key.secret)
    database_away()
    assert await authenticate(key.secret)


async def test_an_unknown_key_is_neither_right_nor_wrong_without_the_database(key, database_away):
    database_away()
    with pytest.raises(IdentityUnavailable):
        await authenticate(key.secret)


async def test_without_the_database_nothing_is_learned(key, database_away, monkeypatch):
    read = principals._read
    database_away()
    with pytest.raises(IdentityUnavailable):
        await authenticate(key.secret)
    monkeypatch.setattr(principals, "_read", read)
    assert await authenticate(key.secret)


async def test_an_outage_is_not_told_in_detail(key, database_away):
    database_away()
    with pytest.raises(IdentityUnavailable) as caught:
        await authenticate(key.secret)
    assert "db.internal" not in caught.value.message
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("step", ["is_wellformed", "digest", "_look_up", "_read"])
@pytest.mark.parametrize("error", [RuntimeError, MemoryError, KeyError, TimeoutError])
async def test_whatever_fails_nobody_gets_in(key, monkeypatch, step, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(principals, step, fail)
    with pytest.raises(IdentityUnavailable):
        await authenticate(key.secret)


async def test_a_database_that_hangs_is_given_up(key, monkeypatch):
    release = threading.Event()

    def hang(digests):
        release.wait(10)
        return {}

    monkeypatch.setattr(lookups, "LONGEST_S", 0.05)
    monkeypatch.setattr(principals, "_read", hang)
    try:
        with pytest.raises(IdentityUnavailable):
            await authenticate(key.secret)
    finally:
        release.set()


async def test_many_who_ask_at_once_share_one_look_up(key, reads):
    callers = await asyncio.gather(*(authenticate(key.secret) for _ in range(50)))
    assert len({id(caller) for caller in callers}) == 1
    assert reads == [1]


async def test_a_caller_who_leaves_does_not_take_the_answer_along(key):
    first = asyncio.create_task(authenticate(key.secret))
    second = asyncio.create_task(authenticate(key.secret))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).key_id == key.pk


async def test_too_many_unknown_keys_at_once_are_turned_away(db, monkeypatch):
    monkeypatch.setattr(lookups, "MOST_WAITING", 3)
    secrets = [f"{number:040}" for number in range(10)]
    answers = await asyncio.gather(*map(authenticate, secrets), return_exceptions=True)
    assert sum(isinstance(answer, IdentityUnavailable) for answer in answers) == 7


@pytest.fixture
def slow_read(monkeypatch):
    """A reading that has its rows and is held before it returns them."""
    held, has_read, read = threading.Event(), threading.Event(), principals._read

    def slow(digests):
        found = read(digests)
        monkeypatch.setattr(principals, "_read", read)
        has_read.set()
        held.wait(10)
        return found

    monkeypatch.setattr(principals, "_read", slow)
    yield has_read, held
    held.set()


async def test_a_look_up_from_before_a_revocation_brings_nothing_back(key, slow_read):
    has_read, release = slow_read
    before = asyncio.create_task(authenticate(key.secret))
    await in_thread(has_read.wait)(10)
    await change(revoke_key, key)
    release.set()
    await before
    assert authenticate_cached(key.secret) is None
    assert await refused(key.secret)


async def test_who_asks_after_a_revocation_does_not_share_an_older_look_up(key, slow_read):
    has_read, release = slow_read
    before = asyncio.create_task(authenticate(key.secret))
    await in_thread(has_read.wait)(10)
    await change(revoke_key, key)
    assert await refused(key.secret)
    release.set()
    await before


async def test_a_change_reads_all_known_keys_in_batches(team, reads, monkeypatch):
    monkeypatch.setattr(principals, "BATCH", 2)
    keys = [await in_thread(make_key)(team) for _ in range(5)]
    for key in keys:
        await authenticate(key.secret)
    reads.clear()
    await in_thread(reload_known)()
    assert reads == [2, 2, 1]
    assert all(authenticate_cached(key.secret) for key in keys)


async def test_a_new_limit_is_known_with_the_next_snapshot(key, team):
    await authenticate(key.secret)
    await change(lambda: make_limit(team=team, amount=3))
    assert [limit.amount for limit in authenticate_cached(key.secret).limits] == [3]


async def test_a_change_that_cannot_be_read_leaves_what_is_known(key, database_away):
    await authenticate(key.secret)
    database_away()
    with pytest.raises(DatabaseError):
        await in_thread(reload_known)()
    assert authenticate_cached(key.secret)


def test_no_more_is_known_than_fits(known, monkeypatch):
    monkeypatch.setattr(principals, "MAX_KNOWN", 3)
    monkeypatch.setattr(principals, "MAX_UNKNOWN", 3)
    for number in range(10):
        known.learn(f"known-{number}", a_principal(), 0)
        known.learn(f"unknown-{number}", None, 0)
    assert [known.get(f"known-{number}") is not None for number in (0, 6, 7, 9)] == [
        False,
        False,
        True,
        True,
    ]
    assert known.is_unknown("unknown-9")
    assert not known.is_unknown("unknown-6")


def test_an_unknown_secret_is_forgotten_after_a_while(known, monkeypatch):
    monkeypatch.setattr(principals, "UNKNOWN_FOR_S", 0)
    known.learn("digest", None, 0)
    assert not known.is_unknown("digest")


async def test_a_secret_that_is_current_wins_over_one_that_was(team):
    rotated = await in_thread(make_key)(team)
    await in_thread(rotate_key)(rotated, timedelta(hours=1))
    other = await in_thread(make_key)(team)
    digest = principals.digest(rotated.secret)
    await in_thread(ApiKey.objects.filter(pk=other.pk).update)(digest=digest)
    assert (await authenticate(rotated.secret)).key_id == other.pk


def test_the_hot_path_leaves_the_database_alone(known, settings):
    secret = "a-secret-that-somebody-brought-along"
    known.learn(principals.digest(secret), a_principal(), 0)
    with connection.execute_wrapper(lambda *arguments: pytest.fail("A query was made.")):
        assert authenticate_cached(secret)


@pytest.mark.parametrize(
    ("patterns", "model", "allowed"),
    [
        ((), "gpt-4o", False),
        (("*",), "openai/gpt-4o", True),
        (("gpt-*",), "gpt-4o", True),
        (("gpt-*",), "claude", False),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("GPT-4o",), "gpt-4o", False),
        (("a", "b"), "b", True),
    ],
)
def test_models_are_allowed_by_pattern(patterns, model, allowed):
    assert a_principal(allowed_models=patterns).may_use(model) is allowed


def test_operations_are_allowed_by_pattern():
    assert a_principal(allowed_endpoints=("chat",)).may_call("chat")
    assert not a_principal(allowed_endpoints=("chat",)).may_call("embeddings")
    assert not a_principal(allowed_endpoints=()).may_call("models")


async def test_permissions_that_are_no_list_allow_nothing(key):
    await in_thread(ApiKey.objects.filter(pk=key.pk).update)(allowed_models="*")
    assert not (await authenticate(key.secret)).may_use("gpt-4o")


async def test_a_person_without_keys_changes_nothing(key):
    await authenticate(key.secret)
    await change(make_user, "dora")
    assert authenticate_cached(key.secret)


async def test_no_key_of_an_archived_team_opens_anything():
    key = await in_thread(make_key)()
    # As one is that was issued while its team was being archived.
    await in_thread(Team.objects.update)(archived_at=timezone.now())
    with pytest.raises(InvalidApiKey):
        await authenticate(key.secret)


async def test_r30_who_is_in_the_middle_of_something_can_be_told_that_the_key_has_ended(key):
    principal = await authenticate(key.secret)
    assert not principals.has_ended(principal)

    await in_thread(revoke_key)(key)
    await in_thread(reload_known)()

    assert principals.has_ended(principal)


async def test_a_key_that_opens_again_has_not_ended(key):
    principal = await authenticate(key.secret)
    await in_thread(disable_key)(key)
    await in_thread(reload_known)()

    await in_thread(enable_key)(key)
    await authenticate(key.secret)

    assert not principals.has_ended(principal)


async def test_keys_of_an_archived_team_open_nothing(key, team):
    await in_thread(Team.objects.update)(archived_at=timezone.now())
    with pytest.raises(InvalidApiKey):
        await authenticate(key.secret)


async def of_plan(key, **fields):
    """Give the key a plan with a limit of 5 requests and a budget of 5 dollars a month."""

    def make():
        plan = Plan.objects.create(name="basic")
        ApiKey.objects.filter(pk=key.pk).update(plan=plan)
        make_limit(plan=plan, amount=5)
        make_budget(plan=plan, amount=5)
        for metric_or_period, value in fields.items():
            if metric_or_period in {"day", "month"}:
                make_budget(key=key, amount=value, period=metric_or_period)
            else:
                make_limit(key=key, amount=value, metric=metric_or_period)

    await in_thread(make)()
    return await authenticate(key.secret)


async def test_a_plan_s_limits_and_budgets_count_for_the_key(key):
    principal = await of_plan(key)
    scope = f"key:{key.pk}"
    assert [(limit.scope, limit.amount) for limit in principal.limits] == [(scope, 5)]
    assert [(b.scope, b.amount_nano) for b in principal.budgets] == [(scope, 5 * 10**9)]


async def test_what_the_key_has_of_its_own_takes_the_place_of_the_plan_s(key):
    principal = await of_plan(key, requests=9, month=9)
    assert [limit.amount for limit in principal.limits] == [9]
    assert [budget.amount_nano for budget in principal.budgets] == [9 * 10**9]


async def test_what_the_key_has_of_another_kind_comes_to_the_plan_s(key):
    principal = await of_plan(key, tokens=9, day=9)
    assert sorted(limit.amount for limit in principal.limits) == [5, 9]
    assert sorted(budget.amount_nano for budget in principal.budgets) == [5 * 10**9, 9 * 10**9]


async def test_a_team_s_budget_is_in_its_time_zone_and_a_user_s_in_utc(key, team, alice):
    def make():
        Team.objects.update(time_zone="Asia/Seoul", markup_percent="12.5")
        ApiKey.objects.update(owner=alice)
        make_budget(team=team)
        make_budget(user=alice)

    await in_thread(make)()
    principal = await authenticate(key.secret)
    assert [budget.time_zone for budget in principal.budgets] == ["Asia/Seoul", "UTC"]
    assert (principal.time_zone, principal.markup_bp) == ("Asia/Seoul", 1250)


def test_limits_of_other_models_do_not_count():
    limits = a_limit(model="gpt-*"), a_limit(model="echo"), a_limit()
    principal = a_principal(*limits)
    assert principal.rules_for("gpt-4o").limits == (limits[0], limits[2])


def test_what_counts_for_a_model_is_found_once():
    principal = a_principal(a_limit())
    assert principal.rules_for("echo") is principal.rules_for("echo")
