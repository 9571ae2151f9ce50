"""/metrics: what Prometheus reads of one process. Plain integers; a scrape asks no database."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from accounts import admission
from accounts.budgets import counters as budgets
from courier_site.connections import connections
from gateway.front_door import Scope
from gateway.reply import Send
from gateway.retry_budget import retries
from gateway.shedding import load
from gateway.strangers import strangers
from lib.database_threads import in_thread
from lib.money import NANO_PER_DOLLAR
from usage import ingest, reconciliation, recorder
from usage.models import RollupMark

logger = logging.getLogger(__name__)

#: What the database says is this old at most, and is never waited for.
LEDGER_EVERY_S = 15.0
FORMAT = b"text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What the database knows of the sums. Moments are Unix times."""

    drift_nano: int
    differs: bool
    reconciled_at: float | None
    rolled_up_at: float | None


class Ledger:
    """The state of the ledger as it was a moment ago, read anew beside the scrapes."""

    def __init__(self) -> None:
        self.state: LedgerState | None = None
        self._read_at = -LEDGER_EVERY_S
        self._reading: asyncio.Task[None] | None = None

    def refresh(self) -> None:
        """Begin to read if what is known is old. Returns at once."""
        is_old = time.monotonic() - self._read_at >= LEDGER_EVERY_S
        if is_old and (self._reading is None or self._reading.done()):
            self._read_at = time.monotonic()
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            self.state = await in_thread(read_ledger)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next look may go better
            logger.warning("metrics lack the state of the ledger: %s", type(error).__name__)
            self.state = None


def read_ledger() -> LedgerState:
    last = reconciliation.latest()
    mark = RollupMark.objects.first()
    return LedgerState(
        drift_nano=last.drift_nano if last and not last.fixed else 0,
        differs=bool(last and last.differs and not last.fixed),
        reconciled_at=last.at.timestamp() if last else None,
        rolled_up_at=mark.at.timestamp() if mark else None,
    )


class CourierCollector(Collector):
    """Everything of this process, labeled with the worker that it is."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        yield from _requests()
        yield from _front_door()
        yield _counter(
            "courier_retries_refused",
            "Retries that were not made because too many were under way.",
            retries.refused,
        )
        yield from _limits()
        yield from _spool()
        yield from _ledger(self._ledger.state)


def _requests() -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "courier_requests", "Requests that ended, by how.", labels=["worker", "outcome"]
    )
    for outcome, count in recorder.outcomes().items():
        requests.add_metric([recorder.worker(), outcome], count)
    yield requests


def _front_door() -> Iterator[Metric]:
    yield _gauge(
        "courier_event_loop_lag_seconds",
        "How late the process comes to what is due.",
        load.lag_s,
    )
    yield _gauge(
        "courier_turned_away_share", "Of the requests, how many are turned away now.", load.share
    )
    yield _gauge(
        "courier_requests_waiting", "Requests that have not begun yet.", float(load.waiting)
    )
    yield _gauge(
        "courier_memory_share",
        "Of the memory that the control group may use, how much is in use; 0 without a limit.",
        load.memory.share,
    )
    yield _gauge("courier_connections", "Connections of clients.", float(connections.open))
    yield _gauge("courier_tasks", "Tasks of the event loop.", float(len(asyncio.all_tasks())))
    for name, text, value in (
        ("requests_turned_away", "Requests that were answered 503 overloaded.", load.turned_away),
        ("connections_refused", "Connections beyond what there may be.", connections.refused),
        (
            "unknown_keys_refused",
            "Requests from addresses that had tried too many keys that are none.",
            strangers.refused,
        ),
    ):
        yield _counter(f"courier_{name}", text, value)


def _limits() -> Iterator[Metric]:
    mode = GaugeMetricFamily(
        "courier_limits_mode",
        "1 for the way in which limits and budgets are counted now.",
        labels=["worker", "mode"],
    )
    for name in admission.STATES:
        mode.add_metric([recorder.worker(), name], float(name == admission.state()))
    yield mode
    yield _gauge(
        "courier_redis_breaker_open",
        "1 while Redis is not asked because it did not answer.",
        float(admission.is_redis_away()),
    )
    late = admission.late_settlements()
    for name, text, value in (
        ("late_settlements", "Settlements whose hold had ended before.", late),
        ("budget_rebuilds", "Budgets that were built from the ledger.", budgets.rebuilds),
        ("budget_drifts", "Budgets more than a hundredth off the ledger.", budgets.drifts),
    ):
        yield _counter(f"courier_{name}", text, value)


def _spool() -> Iterator[Metric]:
    yield _gauge(
        "courier_spool_waiting_bytes",
        "Bytes of usage that are written down and not in the database.",
        recorder.waiting_bytes(),
    )
    yield _counter(
        "courier_records_quarantined",
        "Usage records that the database refused and that were set aside.",
        ingest.counters.quarantined,
    )


def _ledger(state: LedgerState | None) -> Iterator[Metric]:
    if state is None:
        return
    yield _gauge(
        "courier_ledger_differs", "1 if sums and log differ by the last look.", state.differs
    )
    yield _gauge(
        "courier_ledger_drift_dollars",
        "The largest difference between log and sums by the last look.",
        state.drift_nano / NANO_PER_DOLLAR,
    )
    for name, text, at in (
        ("reconciliation_age", "Since log and sums were last compared.", state.reconciled_at),
        ("rollup_age", "Since the sums last followed the log.", state.rolled_up_at),
    ):
        if at is not None:
            yield _gauge(f"courier_{name}_seconds", text, max(time.time() - at, 0))


def _gauge(name: str, text: str, value: float) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=["worker"])
    metric.add_metric([recorder.worker()], value)
    return metric


def _counter(name: str, text: str, value: float) -> Metric:
    metric = CounterMetricFamily(name, text, labels=["worker"])
    metric.add_metric([recorder.worker()], value)
    return metric


class Metrics:
    """Answers scrapes that show the token."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(CourierCollector(self._ledger))
        ProcessCollector(registry=self._registry)

    async def answer(self, scope: Scope, send: Send) -> None:
        """The metrics; 404 where no token is set, 401 without it."""
        if not settings.COURIER_METRICS_TOKEN:
            await _send(send, 404, b"Not found.\n")
        elif not _shows_token(scope):
            await _send(send, 401, b"Show the token: Authorization: Bearer ...\n")
        else:
            self._ledger.refresh()
            await _send(send, 200, generate_latest(self._registry))


def _shows_token(scope: Scope) -> bool:
    wanted = b"Bearer " + settings.COURIER_METRICS_TOKEN.encode()
    shown = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return hmac.compare_digest(shown, wanted)


async def _send(send: Send, status: int, body: bytes) -> None:
    headers = [
        (b"content-type", FORMAT),
        (b"cache-control", b"no-store"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
