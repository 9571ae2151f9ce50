"""A process that spends from one budget in Redis, until it is told to stop or is killed.

`python -m tests.accounts.spender URL AMOUNT SEED TASKS SECONDS` asks, holds, extends, is
cancelled and settles at random, and writes at the end what it has settled.
`python -m tests.accounts.spender URL AMOUNT POINT` kills itself at a point of one request.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from accounts.limits import RESERVED, Settlement  # noqa: E402  # needs the settings
from accounts.redis_limits import RedisStore  # noqa: E402
from accounts.rules import Need  # noqa: E402
from tests.accounts.conftest import a_budget, costs, rules_of  # noqa: E402

POINTS = ["sent", "reserved", "extended", "renewed", "settling"]


class Spender:
    """Requests of one process."""

    def __init__(self, url, amount, seed):
        self.store = RedisStore(url)
        self.rules = rules_of(a_budget(amount, "total"))
        self.rng = random.Random(seed)
        self.seed, self.count, self.settled = seed, 0, 0

    async def spend_for(self, seconds, tasks):
        end = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(self._spend_until(end) for _ in range(tasks)))
        await self.store.close()

    async def _spend_until(self, end):
        while asyncio.get_running_loop().time() < end:
            request = asyncio.create_task(self._request())
            if self.rng.random() < 0.2:
                await asyncio.sleep(self.rng.random() / 200)
                request.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await request

    async def _request(self):
        self.count += 1
        lease, held = f"{self.seed}-{self.count}", self.rng.randint(1, 1_000)
        verdict = await self.store.admit(self.rules, lease, costs(held))
        if verdict.refused != RESERVED:
            await asyncio.sleep(0.002)
            return
        cost = 0
        try:
            await asyncio.sleep(self.rng.random() / 100)
            more = self.rng.randint(1, 500)
            if self.rng.random() < 0.3 and await self.store.extend(
                self.rules, lease, held, more
            ) == 1:  # fmt: skip
                held += more
            cost = self.rng.randint(0, held)
        finally:
            self.settled += cost
            end = Settlement(costs(cost), costs(held), verdict.newest, verdict.windows)
            self.store.settle(self.rules, lease, end)

    async def crash_at(self, point):
        """Go as far as `point`, and be killed there."""
        asking = asyncio.ensure_future(self.store.admit(self.rules, "crashed", Need(1, 1, 700)))
        while not self.store._line._wire or not self.store._line._wire.awaited:
            await asyncio.sleep(0)
        self._die_at("sent", point)
        verdict = await asking
        self._die_at("reserved", point)
        await self.store.extend(self.rules, "crashed", 700, 50)
        self._die_at("extended", point)
        self.store.renew(self.rules, "crashed", 750)
        await asyncio.sleep(0.05)
        self._die_at("renewed", point)
        end = Settlement(costs(300), costs(750), verdict.newest, verdict.windows)
        self.store.settle(self.rules, "crashed", end)
        self._die_at("settling", point)

    @staticmethod
    def _die_at(here, point):
        if here == point:
            os.kill(os.getpid(), signal.SIGKILL)


def main(url, amount, *rest):
    if len(rest) == 1:
        asyncio.run(Spender(url, int(amount), 0).crash_at(*rest))
    seed, tasks, seconds = rest

    async def spend():
        spender = Spender(url, int(amount), int(seed))
        await spender.spend_for(float(seconds), int(tasks))
        print(spender.settled, spender.count, flush=True)

    asyncio.run(spend())


if __name__ == "__main__":
    main(*sys.argv[1:])
