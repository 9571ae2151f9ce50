"""Whole answers that are paid for although their client has left: awaited for their usage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from gateway import metering
from gateway.attempt import WholeAnswer
from gateway.question import Question
from gateway.relay import MOST_DRAINING, pulse
from registry.snapshot import Target

if TYPE_CHECKING:
    from gateway.exchange import Exchange

Ask = Callable[[Question, Target, float], Awaitable[WholeAnswer]]


def awaited(ask: Ask, exchange: Exchange) -> Ask:
    """`ask`, which goes on for a while when the client leaves a provider that is to be drained."""

    async def ask_to_the_end(question: Question, target: Target, limit_s: float) -> WholeAnswer:
        if not target.drains:
            return await ask(question, target, limit_s)
        asking = asyncio.ensure_future(ask(question, target, limit_s))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            if exchange.caller.reply.client_is_gone and len(pulse.draining) < MOST_DRAINING:
                await _count(asking, target, exchange)
            raise
        finally:
            asking.cancel()

    return ask_to_the_end


async def _count(asking: asyncio.Future[WholeAnswer], target: Target, exchange: Exchange) -> None:
    """Charge what the answer used, if it comes in time."""
    task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # runs in one
    pulse.draining.add(task)
    try:
        await asyncio.wait([asking], timeout=target.drain_timeout_s)
    finally:
        pulse.draining.discard(task)
    if asking.done() and asking.exception() is None:
        whole, question = asking.result(), exchange.question
        used = metering.metered(question, whole.usage, whole.said, target.upstream_model)
        exchange.client_left(used)
