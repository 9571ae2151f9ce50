"""Proof that a gateway did its work: a usage record per request, and limits kept in Redis."""

from __future__ import annotations

import time

import psycopg
import redis

#: Seconds that records may take to arrive; the CPU spent on it counts.
ARRIVAL_S = 20


class Ledger:
    """The usage records in a gateway's own database."""

    def __init__(self, database_url):
        self.connection = psycopg.connect(database_url, autocommit=True)

    def count(self):
        return self.connection.execute("SELECT count(*) FROM usage_usagerecord").fetchone()[0]

    def wait_for(self, count):
        """Wait until at least `count` records are there. Returns how many there are."""
        deadline = time.monotonic() + ARRIVAL_S
        while (found := self.count()) < count and time.monotonic() < deadline:
            time.sleep(0.2)
        return found

    def close(self):
        self.connection.close()


def keeps_limits(redis_url):
    """Whether the gateway counts a limit in Redis."""
    with redis.Redis.from_url(redis_url) as store:
        return next(store.scan_iter("courier:limit:*"), None) is not None
