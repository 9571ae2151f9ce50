"""Why a request went as it did is written down beside it, and never in its way."""

import asyncio
from functools import partial

import orjson
import pytest

from accounts import admission
from accounts.admission import Mode
from gateway import decision, refusals, simulation
from gateway.breaker import FAILURES_TO_OPEN, breakers
from gateway.errors import BadRequest, NotReady, UpstreamUnavailable
from gateway.refusals import MOST_A_DAY, MOST_A_MINUTE, MOST_IN_ALL, Refusals
from gateway.simulation import Imagined
from registry import snapshot
from registry.models import Revision, RoutingPolicy, ServedModel, UpstreamKey
from tests import factories
from tests.gateway.conftest import in_thread
from usage.models import Decision, UsageRecord

pytestmark = pytest.mark.django_db(transaction=True)

ANSWER = b'{"choices":[{"message":{"role":"assistant","content":"Hello."}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}'  # fmt: skip  # noqa: E501


@pytest.fixture(autouse=True)
def _budgets_known_soon(monkeypatch):
    monkeypatch.setattr("usage.budget_keeper.YOUNG_S", 0)


@pytest.fixture(autouse=True)
def _none_refused_yet(monkeypatch):
    monkeypatch.setattr(refusals, "refusals", Refusals())


async def why(reply):
    """What was written down of a request, as soon as it is there."""

    def found():
        return list(Decision.objects.filter(pk=reply.request_id))

    while not (rows := await in_thread(found)):
        await asyncio.sleep(0.02)
    (row,) = rows
    return row, orjson.loads(row.told)


async def test_an_answer_tells_its_targets_its_limits_and_what_it_held(
    courier, chat, upstream, alpha, tiny, key
):
    budget = await courier.make(lambda: factories.make_budget(key=key))
    limit = await courier.make(lambda: factories.make_limit(team=key.team, amount=5))
    upstream.will_answer(ANSWER)

    row, told = await why(await chat(max_tokens=10))

    assert row.refusal == ""
    (target,) = told["targets"]
    assert target[2:] == [alpha.pk, "alpha", "alpha-tiny"]
    assert told["limits"] == [
        [limit.pk, f"team:{key.team_id}", "requests", 60, 5, "", 1, told["limits"][0][-1]]
    ]
    (counted,) = told["budgets"]
    assert counted[:6] == [budget.pk, f"key:{key.pk}", "month", False, True, 10 * 10**9]
    assert counted[8] > told["at"]
    assert (counted[6], counted[7]) == (0, told["hold"])
    assert told["hold"] > 0
    assert told["strategy"] == "priority"
    assert told["tokens"][1] == 10
    assert (told["v"], told["model"]) == (1, "tiny")
    told_elsewhere = {"left", "unable", "parameters", "policies", "session", "dropped"}
    assert not told.keys() & {*told_elsewhere, "error", "refused_by", "last_resort", "degraded"}


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([], {}),
        (["limits"], {"limits": 1, "budgets": 0}),
        (["budgets"], {"limits": 0, "budgets": 1}),
    ],
)
async def test_there_are_counters_only_where_there_is_something_to_keep_to(
    courier, chat, upstream, key, rules, found
):
    makers = {"limits": factories.make_limit, "budgets": factories.make_budget}
    for name in rules:
        await courier.make(partial(makers[name], key=key))
    upstream.will_answer(ANSWER)

    _, told = await why(await chat())

    assert {name: len(told[name]) for name in ("limits", "budgets") if name in told} == found
    assert ("at" in told) is bool(rules)
    assert "hold" in told


async def test_a_budget_that_rolls_has_no_end(courier, chat, upstream, key):
    await courier.make(lambda: factories.make_budget(key=key, period="week", window="rolling"))
    upstream.will_answer(ANSWER)

    _, told = await why(await chat())

    (counted,) = told["budgets"]
    assert (counted[2], counted[3], counted[8]) == ("week", True, 0)


async def test_a_key_that_has_no_room_when_it_is_its_turn_is_told(
    courier, chat, upstream, alpha, tiny
):
    def rows():
        UpstreamKey.objects.filter(provider=alpha).update(requests_per_minute=1)
        second = factories.make_provider("second", base_url=upstream.url)
        factories.make_upstream_key(second)
        factories.make_route(tiny, second, priority=1)
        Revision.bump()

    await courier.make(rows)
    upstream.always(ANSWER)
    await chat()

    _, told = await why(await chat())

    (dropped,) = told["dropped"]
    assert (dropped[3], dropped[5]) == ("alpha", "upstream_rate_limited")
    assert dropped[6] > 0


async def test_that_only_targets_are_left_that_are_out_is_told(courier, chat, upstream, tiny):
    (target,) = snapshot.current().model("tiny").targets
    for _ in range(FAILURES_TO_OPEN):
        breakers.failed(target, UpstreamUnavailable("It failed."), breakers.begin(target))
    upstream.will_answer(ANSWER)

    _, told = await why(await chat())

    assert told["last_resort"] is True


async def test_the_revision_of_the_configuration_is_told(courier, chat, upstream):
    def record():
        Revision.bump()
        Revision.objects.update(recorded=7)

    await courier.make(record)
    upstream.will_answer(ANSWER)

    _, told = await why(await chat())

    assert told["revision"] == 7


async def test_what_clients_make_up_is_told_at_no_length(courier, tiny, key):
    judgment = (await simulation.foresee(Imagined(key, "chat", model="tiny"))).judgment

    told = decision.told(judgment, ["n" * 99] * 99)
    refused = decision.refused(None, BadRequest("m" * 999))

    assert told["parameters"] == ["n" * 64] * 32
    assert refused["error"]["message"] == "m" * 400


async def test_a_refusal_tells_when_to_come_back_to_the_millisecond():
    error = NotReady("Wait.", retry_after=1.23456)

    assert decision.refused(None, error) == {
        "v": 1,
        "error": {
            "code": "not_ready", "status": 503, "message": "Wait.", "retry_after_s": 1.235,
        },
    }  # fmt: skip


async def test_that_redis_was_away_is_told(courier, tiny, key, monkeypatch):
    judgment = (await simulation.foresee(Imagined(key, "chat", model="tiny"))).judgment
    monkeypatch.setattr(admission, "_mode", Mode.DEGRADED)

    assert decision.told(judgment)["degraded"] is True


async def test_no_prompt_and_no_secret_is_in_it(chat, upstream, key):
    upstream.will_answer(ANSWER)

    row, _ = await why(await chat(messages=[{"role": "user", "content": "canary words"}]))

    assert "canary" not in row.told
    assert key.secret not in row.told
    assert "sk-upstream" not in row.told


async def test_what_was_left_out_of_the_question_is_told(courier, chat, upstream, tiny):
    await courier.make(lambda: ServedModel.objects.filter(pk=tiny.pk).update(vision=False))
    await courier.make(Revision.bump)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

    reply = await chat(messages=[{"role": "user", "content": [image]}])

    assert reply.headers["x-courier-dropped-params"] == "images"
    _, told = await why(reply)
    assert told["parameters"] == ["images"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [({"model": "nothing"}, "model_not_found"), ({"headers": {"x-courier-tags": "a b"}}, None)],
)
async def test_what_was_refused_is_told_without_a_record(chat, key, asked, code):
    reply = await chat(**asked)

    row, told = await why(reply)

    assert row.refusal == (code or "refused")
    assert (row.key_id, row.status, row.operation) == (key.pk, reply.status, "chat")
    assert (row.key_name, row.team_id, row.team_name) == (key.name, key.team_id, key.team.name)
    assert row.model_asked == asked.get("model", "tiny")
    assert told["error"]["message"] == reply.error["message"].partition(" (request")[0]
    assert not await in_thread(UsageRecord.objects.exists)


async def test_a_limit_that_refuses_is_told_with_its_counter(courier, chat, upstream, key):
    await courier.make(lambda: factories.make_limit(key=key, amount=1, window_s=3600))
    upstream.will_answer(ANSWER)
    await chat()

    _, told = await why(await chat())

    assert told["refused_by"] == 0
    assert told["limits"][0][4:7] == [1, "", 1]
    assert told["error"]["code"] == "rate_limit_exceeded"
    assert told["error"]["retry_after_s"] > 0


async def test_a_request_that_is_larger_than_a_limit_tells_which(courier, chat, key):
    await courier.make(lambda: factories.make_limit(key=key, metric="tokens", amount=2))

    _, told = await why(await chat(max_tokens=10))

    assert told["refused_by"] == 0
    assert told["limits"][0][2] == "tokens"


async def test_targets_that_policies_dropped_are_told_though_nothing_is_left(courier, chat):
    await courier.make(
        lambda: RoutingPolicy.objects.create(name="none", actions={"exclude": ["*"]})
    )

    _, told = await why(await chat())

    assert told["error"]["code"] == "refused_by_policy"
    (dropped,) = told["dropped"]
    assert dropped[5:] == ["excluded", None, "none"]
    assert told["policies"] == ["none"]


async def test_a_target_that_is_left_alone_is_told_with_its_reason(courier, chat, upstream, tiny):
    second = await courier.make(lambda: factories.make_provider("second", base_url=upstream.url))
    await courier.make(lambda: factories.make_upstream_key(second))
    await courier.make(lambda: factories.make_route(tiny, second, priority=1))
    upstream.will_answer(b"{}", status=503, headers={"retry-after": "60"})
    upstream.always(ANSWER)

    first, later = await chat(), await chat()

    assert [reply.headers["x-courier-attempts"] for reply in (first, later)] == ["2", "1"]
    _, told = await why(later)
    (dropped,) = told["dropped"]
    assert (dropped[3], dropped[5]) == ("alpha", "asked_to_wait")
    assert 0 < dropped[6] <= 60
    assert [target[3] for target in told["targets"]] == ["second"]


async def test_that_a_session_is_kept_together_is_told(courier, chat, upstream, tiny):
    upstream.always(ANSWER)
    _, told = await why(await chat())
    assert "session" not in told

    sticky = ServedModel.objects.filter(pk=tiny.pk)
    await courier.make(lambda: sticky.update(stickiness="session"))
    await courier.make(Revision.bump)

    _, told = await why(await chat(headers={"x-courier-session": "one"}))
    assert told["session"] is True


async def test_a_storm_of_refusals_is_counted_instead_of_recorded(courier, chat, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(refusals, "refusals", Refusals(lambda: now[0]))
    for _ in range(MOST_A_MINUTE + 5):
        await chat(model="nothing")
    now[0] = 61.0

    _, told = await why(await chat(model="nothing"))

    assert told["unrecorded"] == 5
    assert await in_thread(Decision.objects.count) == MOST_A_MINUTE + 1


def refused_for(refusals, now, minutes, *, per_minute=20):
    """What of a storm of one key's refusals was recorded: what each row told of others."""
    rows = []
    for _ in range(minutes):
        now[0] += 60
        told = [refusals.count(1, "code") for _ in range(per_minute)]
        rows += [each for each in told if each is not None]
    return rows


def test_one_keys_refusals_have_a_bound_per_day_behind_which_one_an_hour_tells_of_all():
    now = [0.0]
    counted = Refusals(lambda: now[0])

    rows = refused_for(counted, now, minutes=24 * 60)

    assert len(rows) <= MOST_A_DAY + 24
    assert rows[-1] == 60 * 20 - 1
    assert len(rows) + sum(rows) > 24 * 60 * 20 - 60 * 20


def test_a_key_that_is_refused_all_day_leaves_room_for_another():
    now = [0.0]
    counted = Refusals(lambda: now[0])
    refused_for(counted, now, minutes=120)

    assert [counted.count(2, "code") for _ in range(3)] == [0, 0, 0]


def test_all_keys_together_have_a_bound_per_day(monkeypatch):
    monkeypatch.setattr(refusals, "MOST_IN_ALL_A_DAY", 50)
    now = [0.0]
    counted = Refusals(lambda: now[0])

    rows = [counted.count(key, "code") for key in range(10) for _ in range(MOST_A_MINUTE)]

    assert sum(row is not None for row in rows) == 50 + 5  # the others' one of this hour


def test_so_many_keys_are_remembered_and_the_one_that_was_not_refused_for_longest_is_not(
    monkeypatch,
):
    monkeypatch.setattr(refusals, "MOST_KNOWN", 2)
    counted = Refusals(lambda: 0.0)
    for key in (1, 2):
        for _ in range(MOST_A_MINUTE):
            counted.count(key, "code")
    counted.count(1, "code")

    counted.count(3, "code")

    assert [counted.count(key, "code") for key in (1, 2)] == [None, 0]


def test_all_refusals_together_have_a_bound():
    counted = Refusals(lambda: 0.0)

    recorded = [counted.count(key, "code") for key in range(2 * MOST_IN_ALL)]

    assert sum(one is not None for one in recorded) == MOST_IN_ALL


async def test_a_request_is_answered_though_its_decision_cannot_be_told(
    chat, courier, upstream, monkeypatch, caplog
):
    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(decision, "told", fail)
    upstream.will_answer(ANSWER)

    answered, refused = await chat(), await chat(model="nothing")

    assert (answered.status, refused.status) == (200, 404)
    assert (await courier.record(answered.request_id)).outcome == "ok"
    assert not await in_thread(Decision.objects.exists)


async def test_why_all_targets_have_to_wait_is_told(courier, chat, upstream):
    upstream.will_answer(b"{}", status=429, headers={"retry-after": "600"})
    await chat()

    reply = await chat()

    assert (reply.status, reply.code) == (429, "upstream_rate_limited")
    assert "its key is at its rate limit" in reply.error["message"]
    row, told = await why(reply)
    assert row.refusal == ""
    assert told["targets"] == []
    assert told["dropped"][0][5] == "key_rate_limited"
