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
