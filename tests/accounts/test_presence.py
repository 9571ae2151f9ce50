from accounts.presence import replicas
from accounts.redis_limits import RedisStore
from tests.services import free_port


async def test_gateways_that_are_alive_are_counted(redis_url, settings):
    settings.REDIS_URL = redis_url
    store = RedisStore(redis_url)
    await store.pulse("one", "{}")
    await store.pulse("other", "{}")
    await store.close()

    assert replicas() == 2


def test_a_redis_that_is_away_is_told_from_one_without_gateways(redis_url, settings):
    settings.REDIS_URL = redis_url
    assert replicas() == 0

    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    assert replicas() is None


async def test_a_replica_that_has_not_been_heard_of_for_ten_seconds_is_gone(redis_url, clock):
    store = RedisStore(redis_url, clock)
    born = await store.pulse("one", "{}")
    clock.pass_s(6)
    both = await store.pulse("other", "{}")
    clock.pass_s(4)
    left = await store.pulse("other", "{}")
    await store.close()

    assert [each.replicas for each in (born, both, left)] == [1, 2, 1]
    assert [each.age_s for each in (born, both, left)] == [0, 6, 10]


async def test_what_a_replica_told_is_forgotten_with_it(redis_url, redis_client):
    store = RedisStore(redis_url)
    await store.pulse("one", "{}")
    await store.pulse("other", "[]")
    kept_ms = redis_client.pttl("courier:replica:one")
    redis_client.delete("courier:replica:one")
    call = await store.roll_call()
    await store.close()

    assert [told for _, told in call.told] == [b"[]"]
    assert 0 < kept_ms <= 10_000
