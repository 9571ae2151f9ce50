"""Which models a key may use."""

import pytest

from registry.models import Provider, ServedModel
from tests import factories


@pytest.fixture
async def some(courier):
    def rows():
        alpha = Provider.objects.get(name="alpha")
        for name in ("meta/llama-3", "gpt-*", "zeta"):
            factories.make_model(name, alpha)
        factories.make_model("off", alpha, enabled=False)

    await courier.make(rows)


async def ids(courier, key):
    reply = await courier.request("GET", "/v1/models", key=key)
    return [model["id"] for model in reply.json["data"]]


async def test_models_and_aliases_are_listed_in_openais_form(courier, key, tiny):
    reply = await courier.request("GET", "/v1/models", key=key)

    created = int(tiny.created_at.timestamp())
    facts = ("id", "object", "created", "owned_by")
    assert reply.json["object"] == "list"
    assert [{name: model[name] for name in facts} for model in reply.json["data"]] == [
        {"id": name, "object": "model", "created": created, "owned_by": "courier"}
        for name in ("small", "tiny")
    ]


@pytest.mark.usefixtures("some")
async def test_neither_wildcards_nor_what_is_switched_off_are_listed(courier, key):
    assert await ids(courier, key) == ["meta/llama-3", "small", "tiny", "zeta"]


@pytest.mark.usefixtures("some")
@pytest.mark.parametrize(
    ("allowed", "listed"),
    [(["tiny"], ["tiny"]), (["meta/*", "z*"], ["meta/llama-3", "zeta"]), ([], []), (["x"], [])],
)
async def test_a_key_sees_only_what_it_may_use(courier, team, allowed, listed):
    key = await courier.make(lambda: factories.make_key(team, allowed_models=allowed))

    assert await ids(courier, key) == listed


@pytest.mark.usefixtures("some")
@pytest.mark.parametrize("name", ["tiny", "small", "meta/llama-3", "gpt-9", "gpt-9/mini"])
async def test_a_model_can_be_looked_up_by_any_of_its_names(courier, key, name):
    reply = await courier.request("GET", f"/v1/models/{name}", key=key)

    assert (reply.status, reply.json["id"]) == (200, name)


@pytest.mark.usefixtures("some")
@pytest.mark.parametrize("name", ["nothing", "off", "zeta"])
async def test_what_a_key_may_not_use_does_not_exist_for_it(courier, team, name):
    key = await courier.make(lambda: factories.make_key(team, allowed_models=["tiny", "off"]))

    reply = await courier.request("GET", f"/v1/models/{name}", key=key)

    assert (reply.status, reply.code, reply.error["param"]) == (404, "model_not_found", "model")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/tiny"])
async def test_a_key_may_be_kept_from_looking(courier, team, path):
    key = await courier.make(lambda: factories.make_key(team, allowed_endpoints=["chat"]))

    reply = await courier.request("GET", path, key=key)

    assert (reply.status, reply.code) == (403, "endpoint_not_allowed")


async def test_before_the_configuration_is_loaded_nothing_is_listed(courier, key, monkeypatch):
    monkeypatch.setattr("registry.snapshot.is_loaded", lambda: False)

    assert (await courier.request("GET", "/v1/models", key=key)).code == "not_ready"


async def messages_models(courier, key, path="/v1/models"):
    headers = {"x-api-key": key.secret, "anthropic-version": "2023-06-01"}
    return await courier.request("GET", path, headers=headers)


async def test_clients_that_name_a_version_get_the_list_in_their_form(courier, key, tiny):
    reply = await messages_models(courier, key)

    described = {"type": "model", "created_at": tiny.created_at.isoformat(), "lifecycle": "active"}
    assert reply.json == {
        "data": [described | {"id": name, "display_name": name} for name in ("small", "tiny")],
        "has_more": False,
        "first_id": "small",
        "last_id": "tiny",
    }


async def test_a_list_without_models_has_neither_first_nor_last(courier, team):
    key = await courier.make(lambda: factories.make_key(team, allowed_models=[]))

    reply = await messages_models(courier, key)

    assert (reply.json["first_id"], reply.json["last_id"]) == (None, None)


async def test_their_form_tells_how_much_a_model_can_take(courier, key, alpha):
    known = {"context_window": 200_000, "output_limit": 64_000}
    await courier.make(lambda: factories.make_model("large", alpha, **known))

    reply = await messages_models(courier, key, "/v1/models/large")

    assert (reply.json["max_input_tokens"], reply.json["max_tokens"]) == (200_000, 64_000)


async def described(courier, key, name="tiny"):
    return (await courier.request("GET", f"/v1/models/{name}", key=key)).json


async def test_what_a_model_can_do_is_told_as_far_as_it_is_known(courier, key):
    known = {"context_window": 8000, "output_limit": 900, "tools": True, "vision": False}
    await courier.make(lambda: _tell("tiny", **known))

    told = await described(courier, key)

    assert (told["context_window"], told["max_output_tokens"]) == (8000, 900)
    assert told["capabilities"] == {"tools": True, "vision": False}


def _tell(name, **fields):
    model = ServedModel.objects.get(name=name)
    for field, value in fields.items():
        setattr(model, field, value)
    model.save()


async def test_what_nobody_has_said_is_null(courier, key):
    told = await described(courier, key)

    assert (told["context_window"], told["max_output_tokens"]) == (None, None)
    assert told["capabilities"] == {}


async def test_prices_are_dollars_per_million_tokens_as_text(courier, key):
    pricing = (await described(courier, key))["pricing"]

    assert (pricing["input"], pricing["output"]) == ("0.15", "0.6")
    assert (pricing["cached_input"], pricing["request"]) == ("0.15", "0")


async def test_prices_are_those_that_the_key_is_charged(courier, key, team):
    team.markup_percent = 10
    await courier.make(team.save)

    assert (await described(courier, key))["pricing"]["input"] == "0.165"


async def test_an_unknown_price_is_null_and_a_free_one_zero(courier, key):
    def rows():
        factories.make_model("free")
        factories.make_model("unpriced", priced=False)

    await courier.make(rows)

    assert (await described(courier, key, "unpriced"))["pricing"] is None
    assert (await described(courier, key, "free"))["pricing"]["output"] == "0"


async def test_the_price_is_that_of_the_route_that_is_tried_first(courier, key, tiny):
    await courier.make(lambda: factories.make_price(tiny, input="9", route=tiny.routes.get()))

    assert (await described(courier, key))["pricing"]["input"] == "9"


@pytest.mark.parametrize(("name", "others"), [("tiny", ["small"]), ("small", ["tiny"])])
async def test_a_model_names_its_other_names(courier, key, name, others):
    assert (await described(courier, key, name))["aliases"] == others


async def test_names_that_a_key_may_not_use_are_not_told(courier, team):
    key = await courier.make(lambda: factories.make_key(team, allowed_models=["tiny"]))

    assert (await described(courier, key))["aliases"] == []
