"""Whether Redis answers, and how many gateways count in it: for pages, from any thread."""

from __future__ import annotations

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.redis_limits import REPLICAS

#: A page is not to hang on what it only tells about.
WITHIN_S = 0.3


def replicas() -> int | None:
    """How many gateways gave a sign of life lately. None if Redis does not answer."""
    client = redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=WITHIN_S,
        socket_connect_timeout=WITHIN_S,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        return int(client.zcard(REPLICAS))
    except redis.RedisError:
        return None
    finally:
        client.close()
