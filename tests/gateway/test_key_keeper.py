"""Refused keys, from the request that sees it to the people that are told."""

import asyncio
import math
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import admission, upstream_keys
from gateway import key_keeper
from gateway.keys import keys
from registry import key_health, snapshot
from registry.models import Revision, UpstreamKey
from tests import factories
from tests.fakes.upstream import completion, error_body
from tests.gateway.conftest import WITHIN_S, in_thread, known_budgets, until
from usage.models import Alert

FIRST, SECOND = "sk-first-of-a-test", "sk-second-of-a-test"


@pytest.fixture
async def pair(courier, alpha):
    """Two keys of the provider; the second comes after the first."""

    def rows():
        UpstreamKey.objects.filter(provider=alpha).delete()
        first = factories.make_upstream_key(alpha, FIRST, "first")
        factories.make_upstream_key(alpha, SECOND, "second", weight=0)
        return first

    return await courier.make(rows)


def used(upstream):
    return [each.headers["authorization"].removeprefix("Bearer ") for each in upstream.requests]


async def written(key):
    """The row, as soon as the refusal is in it."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            row = await in_thread(lambda: UpstreamKey.objects.get(pk=key.pk))
            if row.out_since:
                return row
            await asyncio.sleep(0.02)


async def alerts():
    return await in_thread(lambda: list(Alert.objects.all()))


async def test_one_401_takes_a_key_out_at_once_and_for_good(chat, pair, upstream):
    upstream.will_answer(error_body(), status=401)

    replies = [await chat(), await chat()]
    row = await written(pair)

    assert [each.status for each in replies] == [200, 200]
    assert used(upstream) == [FIRST, SECOND, SECOND]
    assert row.out_reason == "key_refused"
    await until(lambda: "key_refused" in _reasons(pair))


def _reasons(key):
    targets = snapshot.current().model("tiny").targets
    return {each.terms.out_reason for each in targets if each.key_id == key.pk}


async def test_a_refusal_is_one_revision_and_is_told_once(chat, pair, upstream):
    revision = (await in_thread(Revision.objects.get)).number
    upstream.always(error_body(), status=401)
    await asyncio.gather(*(chat() for _ in range(4)))
    await written(pair)
    await asyncio.sleep(1.2)

    told = [each for each in await alerts() if each.data["key"] == "first"]
    assert len(told) == 1
    assert "'first'" in told[0].text
    assert FIRST not in told[0].text
    assert (await in_thread(Revision.objects.get)).number <= revision + 2


async def test_a_key_that_is_put_back_is_used_again(chat, pair, upstream, courier):
    upstream.will_answer(error_body(), status=401)
    await chat()
    await written(pair)
    await until(lambda: "key_refused" in _reasons(pair))

    def put_back():
        UpstreamKey.objects.filter(pk=pair.pk).update(out_since=None, out_reason="")
        Revision.bump()
        key_health.board.clear(pair.provider_id, pair.pk)

    await courier.make(put_back)
    await chat()

    assert used(upstream)[-1] == FIRST


async def test_a_new_secret_puts_a_key_back(chat, pair, upstream, courier):
    upstream.will_answer(error_body(), status=401)
    await chat()
    row = await written(pair)

    def renew():
        row.seal("sk-third-of-a-test")
        row.changed_at += timedelta(seconds=1)
        row.save()

    await asyncio.sleep(1.1)
    await courier.make(renew)
    await chat()

    assert used(upstream)[-1] == "sk-third-of-a-test"


async def test_if_every_key_is_refused_nothing_is_called_any_more(chat, pair, upstream):
    upstream.always(error_body(), status=401)
    await chat()

    reply = await chat()

    assert (reply.status, reply.code) == (502, "upstream_auth_failed")
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    ("status", "code"), [(402, None), (429, "insufficient_quota"), (403, "billing_error")]
)
async def test_a_key_without_credit_rests_and_stays(chat, pair, upstream, status, code):
    upstream.will_answer(error_body("No.", code=code), status=status)

    await chat()
    await chat()

    assert used(upstream) == [FIRST, SECOND, SECOND]
    async with asyncio.timeout(WITHIN_S):
        while not await alerts():
            await asyncio.sleep(0.05)
    assert (await in_thread(lambda: UpstreamKey.objects.get(pk=pair.pk))).out_since is None


async def test_a_429_cools_the_key_for_another_model_too(chat, pair, upstream, courier, alpha):
    await courier.make(lambda: factories.make_model("other", alpha))
    upstream.will_answer(error_body(), status=429, headers={"retry-after": "30"})

    await chat()
    await chat(model="other")

    assert used(upstream) == [FIRST, SECOND, SECOND]


async def test_quota_told_by_a_success_moves_the_next_request(chat, pair, upstream):
    empty = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}
    upstream.will_answer(completion(), headers=empty)

    await chat()
    await chat()

    assert used(upstream) == [FIRST, SECOND]


async def test_people_are_told_of_a_budget_once_at_each_percentage(chat, courier, alpha, upstream):
    upstream.always(completion(usage={"prompt_tokens": 7, "completion_tokens": 15_000}))
    await courier.make(lambda: UpstreamKey.objects.update(budget="0.01"))
    await courier.make(Revision.bump)
    await known_budgets()
    assert (await chat(max_tokens=16_000)).status == 200

    async with asyncio.timeout(WITHIN_S):
        while not (told := await alerts()):
            await asyncio.sleep(0.1)
    await asyncio.sleep(1.2)

    assert [(each.kind, each.data["percent"]) for each in told] == [("key_budget", 80)]
    assert len(await alerts()) == 1
    assert timezone.now() - told[0].raised_at < timedelta(minutes=1)


@pytest.fixture
def budgets_of_keys(courier, alpha):
    """Give the key of the provider a budget, and look at it as the keeper does."""

    async def make(**terms):
        def rows():
            UpstreamKey.objects.filter(provider=alpha).delete()
            return factories.make_upstream_key(alpha, **terms)

        key = await courier.make(rows)
        await known_budgets()
        keeper = key_keeper.Keeper()
        await keeper.look_at_budgets()
        return key, keeper

    return make


async def test_a_budget_once_and_for_all_never_begins_anew(budgets_of_keys, tiny):
    key, _ = await budgets_of_keys(budget="1", budget_period="total")

    assert keys.spent[key.pk].resets_at == math.inf


async def test_what_the_store_has_forgotten_keeps_no_key_out(budgets_of_keys, tiny):
    key, keeper = await budgets_of_keys(budget="1")
    assert key.pk in keys.spent

    admission.store().forget_budgets()
    await keeper.look_at_budgets()

    assert key.pk not in keys.spent


async def test_a_percentage_that_is_just_reached_is_told(budgets_of_keys, tiny):
    key, keeper = await budgets_of_keys(budget="1")
    budget = upstream_keys.budget_of(key.pk, keys.spent[key.pk].terms)

    await keeper._tell_of_budget(budget, 799_999_999, 1)
    before = await alerts()
    await keeper._tell_of_budget(budget, 800_000_000, 1)

    assert (before, [each.data["percent"] for each in await alerts()]) == ([], [80])


def test_work_that_goes_on_failing_is_complained_of_once(caplog):
    keeper = key_keeper.Keeper()

    for _ in range(3):
        keeper._complain("share", key_health.HealthUnknown())

    assert len(caplog.records) == 1
