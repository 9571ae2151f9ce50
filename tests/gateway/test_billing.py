"""GET /v1/billing/usage and /v1/billing/budget: a key's own figures, and nobody else's."""

from datetime import UTC, datetime, timedelta

import pytest

from accounts.models import Budget
from tests import factories
from tests.usage.ledger import NOON, correct, log, sum_up

OCTOBER = "from=2026-10-01&to=2026-10-31"


async def usage(courier, key, query=OCTOBER):
    return await courier.request("GET", f"/v1/billing/usage?{query}", key=key)


def log_for(key, at=NOON, **fields):
    return log(at, key_id=key.pk, key_name=key.name, team_id=key.team_id, **fields)


async def test_usage_is_told_by_day(courier, key):
    def use():
        correct(log_for(key, cost_nano=1_500_000_000, input_tokens=7), cost_nano=-1)
        log_for(key, NOON + timedelta(days=1), outcome="upstream_error", cost_nano=None)
        sum_up()

    await courier.make(use)

    told = (await usage(courier, key)).json

    first, second = told["data"]
    assert (told["object"], told["by"], told["time_zone"]) == ("billing.usage", "day", "UTC")
    assert (first["day"], first["requests"], first["input_tokens"]) == ("2026-10-14", 1, 7)
    assert (first["cost_usd"], first["cost_nano"]) == ("1.499999999", 1_499_999_999)
    assert (second["day"], second["errors"], second["unpriced"]) == ("2026-10-15", 1, 1)
    assert (told["total"]["requests"], told["total"]["cost_usd"]) == (2, "1.499999999")


@pytest.mark.parametrize(
    ("by", "names", "has_total"), [("model", ["large", "small"], True), ("tag", ["a", "b"], False)]
)
async def test_usage_is_told_by_model_and_tag(courier, key, by, names, has_total):
    def use():
        log_for(key, tags="a,b")
        log_for(key, tags="b", model_served="large")
        sum_up()

    await courier.make(use)

    told = (await usage(courier, key, f"{OCTOBER}&by={by}")).json

    assert [line[by] for line in told["data"]] == names
    assert (told["total"] is not None) is has_total


async def test_other_keys_of_the_team_are_not_told_of(courier, key, team):
    def use():
        log_for(factories.make_key(team, "another"))
        sum_up()

    await courier.make(use)

    assert (await usage(courier, key)).json["data"] == []


async def test_days_are_those_of_the_team(courier, key, team):
    def use():
        type(team).objects.update(time_zone="Asia/Tokyo")
        log_for(key, datetime(2026, 10, 14, 20, tzinfo=UTC))
        sum_up()

    await courier.make(use)

    (line,) = (await usage(courier, key)).json["data"]
    assert line["day"] == "2026-10-15"


async def test_what_courier_pays_is_not_told(courier, key):
    def use():
        log_for(key, provider_cost_nano=987_654_321)
        sum_up()

    await courier.make(use)

    assert b"987654321" not in (await usage(courier, key)).content


async def test_without_days_it_is_this_month(courier, key):
    await courier.make(sum_up_something)

    told = (await usage(courier, key, "")).json

    today = datetime.now(UTC).date()
    assert (told["from"], told["to"]) == (str(today.replace(day=1)), str(today))


def sum_up_something():
    log()
    sum_up()


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("by=team", "by"),
        ("from=yesterday", "from"),
        ("from=20261001", "from"),
        ("to=0001-01-01", "to"),
        ("from=2026-10-02&to=2026-10-01", "to"),
        ("from=2024-01-01&to=2026-10-01", "from"),
    ],
)
async def test_a_bad_parameter_is_named(courier, key, query, param):
    reply = await usage(courier, key, query)

    assert (reply.status, reply.error["param"]) == (400, param)
    assert reply.error["type"] == "invalid_request_error"


async def test_before_the_first_sums_the_ledger_is_not_ready(courier, key):
    reply = await usage(courier, key)

    assert (reply.status, reply.code) == (503, "ledger_unavailable")
    assert reply.headers["retry-after"] == "1"


async def test_without_a_key_there_is_nothing(courier):
    for path in ("usage", "budget"):
        assert (await courier.request("GET", f"/v1/billing/{path}")).status == 401


async def test_the_budgets_that_bind_a_key_are_told(courier, key, team):
    def limit():
        Budget.objects.create(team=team, amount=10, period="month", hard=True)
        Budget.objects.create(key=key, amount=2, period="total", hard=False)
        Budget.objects.create(key=factories.make_key(team, "another"), amount=3)
        sum_up_something()

    await courier.make(limit)

    told = (await courier.request("GET", "/v1/billing/budget", key=key)).json["data"]

    by_scope = {budget["scope"]: budget for budget in told}
    assert set(by_scope) == {"key", "team"}
    assert (by_scope["team"]["amount_usd"], by_scope["team"]["hard"]) == ("10.000000000", True)
    assert (by_scope["key"]["period"], by_scope["key"]["resets_at"]) == ("total", None)


async def test_without_budgets_the_list_is_empty(courier, key):
    reply = await courier.request("GET", "/v1/billing/budget", key=key)

    assert reply.json == {"object": "list", "data": []}
