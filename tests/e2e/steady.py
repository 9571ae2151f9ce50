"""Callers that ask a Courier all the while, and what they saw."""

import asyncio
import collections
import time

from tests.e2e.client import try_to_ask


class Steady:
    """So many callers, each with a pause between two requests; they stop with the block."""

    def __init__(self, courier, callers=4, every_s=0.05, **options):
        self.courier = courier
        self.options = options
        self.replies = []
        #: Seconds that each of the replies took.
        self.took = []
        self._callers = callers
        self._every_s = every_s
        self._stopped = asyncio.Event()

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._call()) for _ in range(self._callers)]
        return self

    async def __aexit__(self, *exception):
        await self.stop()

    async def stop(self):
        """Let each caller have its last answer. May be called twice."""
        self._stopped.set()
        await asyncio.gather(*self._tasks)

    async def _call(self):
        while not self._stopped.is_set():
            began = time.monotonic()
            reply = await try_to_ask(self.courier, **self.options)
            self.took.append(time.monotonic() - began)
            self.replies.append(reply)
            await asyncio.sleep(self._every_s)

    @property
    def statuses(self):
        return collections.Counter(reply.status for reply in self.replies)

    @property
    def codes(self):
        """The statuses, with the codes of the errors."""
        return collections.Counter(
            (reply.status, "" if reply.status in {0, 200} else reply.code) for reply in self.replies
        )

    def took_ms(self, share=0.5):
        """How long a reply took: by default the median, at 0.99 the slowest hundredth."""
        ordered = sorted(self.took)
        return 1000 * ordered[min(int(len(ordered) * share), len(ordered) - 1)]
