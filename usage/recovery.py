"""Requests that a dead process left open, and the last record that each of them gets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from lib.tokens import TokenUsage
from registry.models import Price
from registry.pricing import charged_nano, price_of
from usage import frames
from usage.ledger import database
from usage.models import UsageRecord
from usage.rows import UNREADABLE, Refused, Row, content_of, refused, row_of
from usage.spool import Line


class Unclosed:
    """What is still open after all that was written has been seen."""

    def __init__(self) -> None:
        self._opened: dict[str, bytes] = {}
        self._progress: dict[str, dict[str, Any]] = {}

    def see(self, line: Line) -> None:
        for payload in line.payloads:
            with contextlib.suppress(*UNREADABLE):
                self._see(payload, content_of(payload))

    def _see(self, payload: bytes, content: dict[str, Any]) -> None:
        request_id = content["request_id"]
        match payload[:1]:
            case frames.OPEN:
                self._opened[request_id] = payload
            case frames.PROGRESS:
                self._progress[request_id] = content
            case frames.CLOSE:
                self._opened.pop(request_id, None)
                self._progress.pop(request_id, None)

    def rows(self, recorded_at: datetime) -> Iterator[Row | Refused]:
        """A last record for each: interrupted, with what is known of its usage."""
        for request_id, payload in self._opened.items():
            try:
                told = _interrupted(content_of(payload), self._progress.get(request_id, {}))
                yield row_of(payload, recorded_at, **told)
            except UNREADABLE as error:
                yield refused(payload, error)


def _interrupted(opened: dict[str, Any], progress: dict[str, Any]) -> dict[str, Any]:
    """What the last sign of life tells of a request that was never closed."""
    started = datetime.fromisoformat(opened["started_at"]).timestamp()
    lived_ms = max(round((progress.get("at", started) - started) * 1000), 0)
    output_tokens = progress.get("output_tokens", 0)
    usage = TokenUsage(input_tokens=opened["input_tokens"], output_tokens=output_tokens)
    tries = progress.get("tries") or opened.get("tries")
    price_id = tries[-1].get("price_id") if tries else opened["price_id"]
    cost = _cost_nano(price_id, usage)
    told = {
        "price_id": price_id,
        "output_tokens": output_tokens,
        "usage_source": UsageRecord.Source.ESTIMATED,
        "provider_cost_nano": cost,
        "cost_nano": None if cost is None else charged_nano(cost, opened.get("markup_bp", 0)),
        "total_ms": lived_ms,
        "outcome": "interrupted",
        "end_reason": UsageRecord.EndReason.INTERRUPTED,
        "status": 0,
    }
    return told | _tried(tries, told, usage)


def _tried(tries: Any, told: dict[str, Any], usage: TokenUsage) -> dict[str, Any]:
    """Where it was sent, if that was written down: the last attempt was open when all ended."""
    if not tries:
        return {}
    last = tries[-1] | {
        "outcome": "interrupted",
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "usage_source": UsageRecord.Source.ESTIMATED,
        "cost_nano": told["provider_cost_nano"],
    }
    return {
        "tries": [*tries[:-1], last],
        "attempts": len(tries),
        "provider_name": last["provider_name"],
        "upstream_model": last["upstream_model"],
    }


def _cost_nano(price_id: int | None, usage: TokenUsage) -> int | None:
    if price_id is None:
        return None
    price = Price.objects.using(database()).filter(pk=price_id).order_by("pk").first()
    return price_of(price).cost_nano(usage) if price else None
