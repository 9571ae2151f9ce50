"""Beside the requests: tells other instances what this one sees, learns from them, heeds staff."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from gateway.breaker import breakers
from gateway.flow import traffic
from gateway.keys import keys
from registry import health, snapshot

logger = logging.getLogger(__name__)

#: Seconds between two looks.
LOOK_EVERY_S = 0.5


async def watch() -> None:
    """Look now and then, until cancelled. Redis that is away is waited for."""
    failing = False
    while True:
        end_pauses()
        try:
            await asyncio.to_thread(health.share, traffic.told())
            failing = False
        except health.HealthUnknown:
            if not failing:
                logger.warning("breakers and traffic are not shared: Redis does not answer")
            failing = True
        await asyncio.sleep(LOOK_EVERY_S)


def end_pauses() -> None:
    """Where staff want a target to be tried again, its pauses that began before are over."""
    current = snapshot.current()
    tried_again = current.orders.tried_again
    if not tried_again:
        return
    now = datetime.now(UTC)
    for model in current.models.values():
        for target in model.targets:
            begun_at = tried_again.get(target.route_id)
            if begun_at is not None:
                breakers.try_again(target, (now - begun_at).total_seconds())
                keys.try_again(target, begun_at)
