"""What is said beforehand of a request is what becomes of it, whatever is configured."""

import asyncio
import json
import random
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import orjson
import pytest
from django.db import transaction

from accounts import admission, states
from accounts.principals import principal_of
from accounts.rules import Need
from gateway import errors, refusals, routing, simulation
from gateway.breaker import Begun, breakers
from gateway.keys import keys
from gateway.refusals import Refusals
from gateway.simulation import Imagined
from gateway.strategies import session_number
from lib.ids import uuid7
from registry import snapshot
from registry.models import Price, Revision, RoutingPolicy, ServedModel
from tests import factories, soak
from tests.fakes.upstream import completion
from tests.gateway.conftest import in_thread
from usage import budget_keeper
from usage.models import Decision, UsageRecord

pytestmark = pytest.mark.django_db(transaction=True)

TRIALS = soak.trials(25, 200)
STRATEGIES = [strategy.value for strategy in ServedModel.Strategy]
CONDITIONS = [
    {}, {"tags": ["batch"]}, {"teams": ["nobody"]}, {"models": ["model-*"]},
    {"input_tokens_at_least": 150}, {"budget_used_at_least": 50}, {"endpoints": ["messages"]},
]  # fmt: skip


@pytest.fixture(autouse=True)
def _budgets_known_soon(monkeypatch):
    monkeypatch.setattr("usage.budget_keeper.YOUNG_S", 0)


class World:
    """One configuration, made by lot, with one request for it."""

    def __init__(self, number, upstream, lot):
        self.number, self.lot = number, lot
        self.url = upstream.url
        self.team = factories.make_team(f"team-of-{number}")
        self.key = factories.make_key(
            self.team,
            allowed_models=self.mostly(["*"], ["other-*"]),
            allowed_endpoints=self.mostly(["*"], ["embeddings"]),
        )
        self.providers = [self.provider(index) for index in range(lot.randint(1, 3))]
        self.model = self.served()
        for index in range(lot.randint(1, 4)):
            self.route(index)
        self.policies()
        self.limit = self.make_limit()
        self.budget = self.make_budget()

    def mostly(self, usual, odd, odds=0.06):
        return odd if self.lot.random() < odds else usual

    def provider(self, index):
        provider = factories.make_provider(f"p{self.number}-{index}", base_url=self.url)
        for name in ("one", "two")[: self.lot.randint(1, 2)]:
            factories.make_upstream_key(provider, name=name)
        return provider

    def served(self):
        return factories.make_model(
            f"model-{self.number}",
            priced=False,
            strategy=self.lot.choice(STRATEGIES),
            stickiness=self.lot.choice(ServedModel.Stickiness.values),
            context_window=self.mostly(None, 50, 0.15),
        )

    def route(self, index):
        lot = self.lot
        route = factories.make_route(
            self.model, lot.choice(self.providers), upstream_model=f"m{self.number}-{index}",
            priority=lot.randint(0, 1), weight=lot.choice([0, 1, 1, 3]),
            enabled=lot.random() < 0.9,
        )  # fmt: skip
        if lot.random() < 0.85:
            dollars = Decimal(lot.choice(["1", "2", "30"]))
            Price.objects.create(
                model=self.model, route=route, input=dollars, output=2 * dollars,
                starts_at=factories.BEGINNING,
            )  # fmt: skip

    def policies(self):
        RoutingPolicy.objects.all().delete()
        for position in range(self.lot.choice([0, 0, 1, 2])):
            named = [self.lot.choice(self.providers).name]
            actions = self.lot.choice([
                {"exclude": named}, {"pin": named}, {"prefer": named},
                {"max_cost": "0.001"}, {"last": True},
            ])  # fmt: skip
            RoutingPolicy.objects.create(
                name=f"policy {position}", position=position,
                conditions=self.lot.choice(CONDITIONS), actions=actions,
            )  # fmt: skip

    def make_limit(self):
        if self.lot.random() < 0.5:
            return None
        metric = self.lot.choice(["requests", "tokens", "output_tokens"])
        scope = self.lot.choice([{"key": self.key}, {"team": self.team}])
        amount = 3 if metric == "requests" else self.lot.choice([20, 400, 5000])
        return factories.make_limit(metric=metric, amount=amount, window_s=3600, **scope)

    def make_budget(self):
        if self.lot.random() < 0.5:
            return None
        hard = self.lot.random() < 0.8
        return factories.make_budget(amount=1, key=self.key, hard=hard)

    def imagined(self):
        """A request. Its body is that of both the imagined and the real one."""
        lot = self.lot
        name = self.mostly(self.model.name, "nothing-of-the-kind")
        body = {
            "model": name,
            "messages": [{"role": "user", "content": "x" * lot.choice([40, 900])}],
        }
        if lot.random() < 0.7:
            body["max_tokens"] = lot.choice([5, 90])
        if lot.random() < 0.3:
            body["user"] = f"user-{lot.randint(0, 3)}"
        if lot.random() < 0.05:
            body["messages"] = 7
        endpoint = lot.choice(["chat", "chat", "messages"])
        if endpoint == "messages":
            body.setdefault("max_tokens", 7)
        return Imagined(
            key=self.key, endpoint=endpoint, body=json.dumps(body).encode(),
            tags=self.mostly(lot.choice(["", "batch,a"]), "no tag at all"),
            session=lot.choice(["", "", "s1", "s2"]),
        )  # fmt: skip

    async def disturb(self):
        """Open breakers, cool keys, and bring limits and budgets to their edges, by lot."""
        model = snapshot.current().models.get(self.model.name)
        for target in model.targets if model else ():
            drawn = self.lot.random()
            if drawn < 0.15:
                for _ in range(6):
                    breakers.failed(target, errors.UpstreamUnavailable("x"), Begun(0.0))
            elif drawn < 0.25:
                error = errors.UpstreamRateLimited("x", retry_after=600)
                breakers.failed(target, error, Begun(0.0))
                keys.failed(target, error)

    async def spend(self, courier, hold):
        """Leave of limits and budgets exactly enough, or a little too little."""
        principal = await in_thread(principal_of, self.key)
        if self.limit and self.limit.metric == "requests":
            for _ in range(self.lot.choice([0, 1, 2, 3])):
                held = await admission.admit(principal, uuid7(), self.model.name, Need(0, 0, 0))
                held.settle()
        if self.budget and hold:
            # Prices are such that a hold is some millionths of a dollar, as an amount is.
            left = hold - self.lot.choice([0, 0, 1000, hold // 2000 * 1000, -5 * hold])
            self.budget.amount = Decimal(left).scaleb(-9)
            await courier.make(self.budget.save)


@transaction.atomic
def make_world(number, upstream, lot):
    return World(number, upstream, lot)


async def live(courier, imagined):
    """What really becomes of the same request."""
    path = simulation.ENDPOINTS[imagined.endpoint].path
    told = {"x-courier-tags": imagined.tags, "x-courier-session": imagined.session}
    headers = {name: value for name, value in told.items() if value}
    ask = partial(courier.request, "POST", path, key=imagined.key, headers=headers)
    reply = await ask(content=imagined.body)
    # On a busy machine looking a key up may take too long. Nothing was counted by then.
    while reply.status == 503 and reply.code == "identity_unavailable":
        reply = await ask(content=imagined.body)
    return reply


async def decision_of(request_id):
    async def look():
        rows = await in_thread(lambda: list(Decision.objects.filter(pk=request_id)))
        return orjson.loads(rows[0].told) if rows else None

    while not (told := await look()):
        await asyncio.sleep(0.02)
    return told


def dropped_in(told):
    # Their order is that of the draw, which is another each time.
    return sorted(([*each[:2]], each[5], each[7]) for each in told.get("dropped", []))


async def agree(courier, imagined, upstream):
    """Compare what is foreseen with what happens. Returns what that was, for counting."""
    foreseen = await simulation.foresee(imagined)
    asked = len(upstream.requests)
    reply = await live(courier, imagined)
    if foreseen.refusal:
        assert (reply.status, masked(reply.content)) == (
            foreseen.refusal.status,
            masked(foreseen.refusal.content),
        )
        assert len(upstream.requests) == asked
        return reply.error.get("code") or reply.error["type"]
    assert reply.status == 200, reply.content
    told, expected = await decision_of(reply.request_id), orjson.loads(orjson.dumps(foreseen.told))
    for name in ("hold", "policies", "strategy", "session", "model", "tokens", "last_resort"):
        assert told.get(name) == expected.get(name), name
    assert dropped_in(told) == dropped_in(expected)
    assert counters(told) == counters(expected)
    assert sorted(map(repr, told["targets"])) == sorted(map(repr, expected["targets"]))
    assert upstream.requests[asked].json["model"] == told["targets"][0][4]
    check_first(told["targets"][0], foreseen)
    return "served"


def check_first(first, foreseen):
    """The target that was called first is one of those that may have been."""
    judgment = foreseen.judgment
    plan, manner = judgment.plan, judgment.choice.manner
    if manner.session is not None:
        assert plan.targets[0].id == tuple(first[:2])
        return
    tier = next(iter(routing._tiers(plan.targets, manner)))
    of_first = [target for target in tier if target.id == tuple(first[:2])]
    assert of_first
    if manner.strategy == "least_cost":
        costs = [judgment.bill.estimate_nano(target) for target in tier]
        known = [cost for cost in costs if cost is not None]
        assert judgment.bill.estimate_nano(of_first[0]) == min(known, default=None)


def counters(told):
    """What is used, spent and held, without the moments."""
    limits = [each[:7] for each in told.get("limits", [])]
    return limits, [each[:8] for each in told.get("budgets", [])]


def masked(content):
    """The body of an error without ids and moments of its own request."""
    told = json.loads(content)
    error = told["error"]
    words = error["message"].split(" (request")[0]
    # Seconds go by between the two.
    return {**told, "request_id": None, "error": {**error, "message": without_digits(words)}}


def without_digits(words):
    return "".join(each for each in words if not each.isdigit())


@pytest.fixture
def quiet_refusals(monkeypatch):
    monkeypatch.setattr(refusals, "refusals", Refusals())


@pytest.mark.promise
@pytest.mark.timeout(1200)
async def test_what_is_foreseen_is_what_happens(courier, upstream, quiet_refusals):
    upstream.always(completion("Hello."))
    seen = {}
    for number in range(TRIALS):
        lot = random.Random(number)
        world = await courier.make(lambda n=number, drawn=lot: make_world(n, upstream, drawn))
        imagined = world.imagined()
        await world.disturb()
        # The hold with all of the budget there is what the edges are set by.
        hold = (await simulation.foresee(imagined)).told.get("hold", 0)
        await world.spend(courier, hold)
        try:
            outcome = await agree(courier, imagined, upstream)
        except AssertionError as error:
            raise AssertionError(f"seed {number}: {error}") from error
        seen[outcome] = seen.get(outcome, 0) + 1
    assert seen["served"] > TRIALS / 5
    assert len(seen) > 4, seen


async def test_nothing_is_held_counted_called_or_written_down(courier, upstream, tiny, key):
    await courier.make(lambda: (factories.make_limit(key=key), factories.make_budget(key=key)))
    imagined = Imagined(key=key, endpoint="chat", model="tiny")
    principal = await in_thread(principal_of, key)
    await simulation.foresee(imagined)
    before = await states.limit_states(principal), await states.budget_states(principal)
    keeper = budget_keeper.keeper

    await simulation.foresee(imagined)

    after = await states.limit_states(principal), await states.budget_states(principal)
    assert after[0] == before[0]
    assert after[1] == before[1]
    assert budget_keeper.keeper is keeper
    assert upstream.requests == []
    assert not await in_thread(UsageRecord.objects.exists)
    assert not await in_thread(Decision.objects.exists)


async def test_an_endpoint_has_the_name_of_its_operation():
    def operation(name):
        request = simulation._request(Imagined(None, name, model="tiny"))
        return simulation.ENDPOINTS[name].read(request).dialect.operation

    assert {name: operation(name) for name in simulation.ENDPOINTS} == {
        name: name for name in simulation.ENDPOINTS
    }


@pytest.mark.parametrize("endpoint", sorted(simulation.ENDPOINTS))
@pytest.mark.parametrize("tokens", [1, 2000])
async def test_a_body_of_so_many_tokens_is_estimated_at_about_as_many(
    courier, tiny, key, endpoint, tokens
):
    imagined = Imagined(key=key, endpoint=endpoint, model="tiny", input_tokens=tokens)

    foreseen = await simulation.foresee(imagined)

    assert foreseen.refusal is None
    assert foreseen.told["tokens"][0] == pytest.approx(tokens, abs=2)


#: Endpoints whose clients say how much may be answered, and what is said for nothing.
BOUNDED = {"chat": 0, "messages": 1, "responses": 0, "completions": 0, "generate_content": 0}


async def test_so_many_tokens_of_output_are_asked_for_as_are_told(courier, tiny, key):
    async def bound(endpoint, most):
        imagined = Imagined(key, endpoint, model="tiny", output_tokens=most)
        return (await simulation.foresee(imagined)).told["tokens"][1]

    assert {name: await bound(name, 70) for name in BOUNDED} == dict.fromkeys(BOUNDED, 70)
    assert {name: await bound(name, 0) for name in BOUNDED} == BOUNDED


async def test_a_moment_of_its_own_is_that_of_prices_and_policies(courier, tiny, key):
    await courier.make(
        lambda: RoutingPolicy.objects.create(
            name="night", conditions={"hours": "22:00-06:00"}, actions={"exclude": ["*"]}
        )
    )

    async def at(hour):
        moment = datetime(2026, 11, 25, hour, tzinfo=UTC)
        foreseen = await simulation.foresee(
            Imagined(key=key, endpoint="chat", model="tiny", moment=moment)
        )
        return foreseen.refusal and foreseen.error.code

    assert [await at(12), await at(23)] == [None, "refused_by_policy"]


async def test_a_model_is_found_by_whatever_name_it_has_in_a_path_too(courier, alpha, key):
    name = "maker/tiny:8b é"
    await courier.make(lambda: factories.make_model(name, alpha))

    foreseen = await simulation.foresee(Imagined(key=key, endpoint="generate_content", model=name))

    assert foreseen.refusal is None


@pytest.mark.parametrize(("endpoint", "streams"), [("chat", True), ("embeddings", False)])
async def test_a_stream_is_imagined_where_there_may_be_one(courier, tiny, key, endpoint, streams):
    foreseen = await simulation.foresee(
        Imagined(key=key, endpoint=endpoint, model="tiny", streams=True)
    )

    assert foreseen.refusal is None
    assert foreseen.judgment.question.wants_stream is streams
    assert ("stream" in foreseen.judgment.question.body) is streams


async def test_no_more_is_imagined_than_so_many_tokens(courier, tiny, key, monkeypatch):
    monkeypatch.setattr(simulation, "MOST_TOKENS", 500)
    foreseen = await simulation.foresee(
        Imagined(key=key, endpoint="chat", model="tiny", input_tokens=10**9)
    )

    assert foreseen.told["tokens"][0] == pytest.approx(500, abs=2)


async def test_tags_and_session_are_those_of_the_headers(courier, tiny, key):
    await courier.make(lambda: ServedModel.objects.filter(pk=tiny.pk).update(stickiness="session"))
    await courier.make(Revision.bump)

    foreseen = await simulation.foresee(
        Imagined(key=key, endpoint="chat", model="tiny", tags="b,a", session="one")
    )

    assert foreseen.judgment.bill.tags == "a,b"
    assert foreseen.judgment.choice.manner.session == session_number("one")
    assert foreseen.told["session"] is True


async def test_a_session_is_nothing_to_a_model_that_keeps_none_together(courier, tiny, key):
    foreseen = await simulation.foresee(Imagined(key, "chat", model="tiny", session="one"))

    assert foreseen.judgment.choice.manner.session is None
    assert "session" not in foreseen.told


async def test_tags_that_are_none_are_refused_as_they_are(courier, tiny, key):
    foreseen = await simulation.foresee(
        Imagined(key=key, endpoint="chat", model="tiny", tags="\ud800 é")
    )

    assert foreseen.refusal.status == 400


async def test_a_model_without_a_route_would_be_refused_as_it_is(
    courier, upstream, chat, tiny, key
):
    await courier.make(lambda: tiny.routes.get().delete())

    foreseen = await simulation.foresee(Imagined(key=key, endpoint="chat", model="tiny"))

    reply = await chat()
    assert (reply.status, reply.code) == (503, "no_available_target")
    assert (foreseen.refusal.status, foreseen.error.code) == (503, "no_available_target")
