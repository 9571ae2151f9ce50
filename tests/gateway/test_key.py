"""GET /v1/key: who am I, and what is left."""

from datetime import UTC, datetime, timedelta

from tests import factories


async def test_a_key_describes_itself(courier, key, team):
    reply = await courier.request("GET", "/v1/key", key=key)

    assert reply.json == {
        "object": "key",
        "id": key.public_id,
        "name": "notebook",
        "team": team.name,
        "owner": None,
        "allowed_models": ["*"],
        "allowed_endpoints": ["*"],
        "expires_at": None,
        "limits": [],
    }


async def test_its_owner_and_its_end_are_told(courier, team, alice):
    ends = datetime.now(UTC) + timedelta(days=1)
    key = await courier.make(lambda: factories.make_key(team, owner=alice, expires_at=ends))

    described = (await courier.request("GET", "/v1/key", key=key)).json

    assert described["owner"] == "alice"
    assert datetime.fromisoformat(described["expires_at"]) == ends


async def test_what_is_left_of_its_limits_is_told(courier, chat, key):
    await courier.make(lambda: factories.make_limit(key=key, metric="requests", amount=5))
    await chat()

    (limit,) = (await courier.request("GET", "/v1/key", key=key)).json["limits"]

    assert 0 < limit.pop("reset_s") <= 61
    assert limit == {
        "metric": "requests",
        "model": None,
        "window_s": 60,
        "limit": 5,
        "remaining": 4,
    }


async def test_looking_costs_nothing(courier, key):
    await courier.make(lambda: factories.make_limit(key=key, metric="requests", amount=1))

    for _ in range(3):
        reply = await courier.request("GET", "/v1/key", key=key)

    assert reply.json["limits"][0]["remaining"] == 1
