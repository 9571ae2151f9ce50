"""What a process tells Prometheus, and to whom."""

import asyncio
from collections import deque

import pytest
from prometheus_client.parser import text_string_to_metric_families

from accounts import admission
from courier_site import metrics
from tests.gateway.conftest import until
from usage import ingest, recorder
from usage.models import Reconciliation, RollupMark, UsageRecord

TOKEN = "a-token-of-a-test"


@pytest.fixture(autouse=True)
def _token(settings):
    settings.COURIER_METRICS_TOKEN = TOKEN


@pytest.fixture
def scrape(courier):
    """The samples of one scrape, by name and labels other than the worker."""

    async def read():
        answer = await courier.request(
            "GET", "/metrics", headers={"authorization": f"Bearer {TOKEN}"}
        )
        assert answer.status == 200
        samples = {}
        for family in text_string_to_metric_families(answer.content.decode()):
            for name, labels, value, *_ in family.samples:
                samples[name, *(labels[one] for one in labels if one != "worker")] = value
        return samples

    return read


async def test_without_a_token_set_there_are_no_metrics(courier, settings):
    settings.COURIER_METRICS_TOKEN = ""

    answer = await courier.request("GET", "/metrics", headers={"authorization": "Bearer x"})

    assert answer.status == 404


@pytest.mark.parametrize("shown", [{}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}])
async def test_nobody_reads_them_without_the_token(courier, shown):
    answer = await courier.request("GET", "/metrics", headers=shown)

    assert answer.status == 401
    assert b"courier_" not in answer.content


async def test_an_api_key_is_no_token(courier, key):
    assert (await courier.request("GET", "/metrics", key=key)).status == 401


async def test_requests_are_counted_by_how_they_ended(chat, upstream, scrape):
    upstream.will_answer(b"{}", status=400)

    await chat()

    [counted] = [name for name in await scrape() if name[0] == "courier_requests_total"]
    assert counted[1] != "ok"


async def test_a_scrape_is_no_request(scrape, courier):
    await scrape()

    counted = [name for name in await scrape() if name[0] == "courier_requests_total"]
    assert counted == []
    assert not await to_rows()


async def to_rows():
    return [row async for row in UsageRecord.objects.all()]


async def test_every_sample_of_courier_tells_its_worker(courier):
    answer = await courier.request("GET", "/metrics", headers={"authorization": f"Bearer {TOKEN}"})

    samples = [line for line in answer.content.decode().splitlines() if line.startswith("courier_")]
    assert samples
    assert all('worker="0"' in line for line in samples)


async def test_limits_that_redis_counts_are_healthy(scrape):
    samples = await scrape()

    assert samples["courier_limits_mode", "healthy"] == 1
    assert samples["courier_limits_mode", "degraded"] == 0
    assert samples["courier_redis_breaker_open",] == 0


@pytest.mark.parametrize(("replicas", "mode"), [(2, "degraded"), (0, "closed")])
async def test_limits_without_redis_are_degraded_or_closed(scrape, monkeypatch, replicas, mode):
    monkeypatch.setattr(admission, "_mode", admission.Mode.DEGRADED)
    monkeypatch.setattr(admission._fallback, "replicas", replicas)

    assert (await scrape())["courier_limits_mode", mode] == 1


async def test_late_settlements_and_records_set_aside_are_counted(scrape, monkeypatch):
    monkeypatch.setattr(admission.store(), "late", 3)
    monkeypatch.setattr(ingest.counters, "quarantined", 2)

    samples = await scrape()

    assert samples["courier_late_settlements_total",] == 3
    assert samples["courier_records_quarantined_total",] == 2


async def test_what_waits_in_the_spool_is_told_in_bytes(scrape, monkeypatch):
    await until(lambda: recorder.waiting_bytes() == 0)

    assert (await scrape())["courier_spool_waiting_bytes",] == 0


async def test_the_ledger_is_told_from_the_second_scrape_on(scrape, courier):
    await courier.make(
        lambda: (
            Reconciliation.objects.create(
                first_day="2026-11-16",
                last_day="2026-11-16",
                differs=True,
                drift_nano=2_500_000_000,
            ),
            RollupMark.objects.get_or_create(pk=1),
        )
    )

    await scrape()
    await until(lambda: courier.application._metrics._ledger.state)
    samples = await scrape()

    assert samples["courier_ledger_differs",] == 1
    assert samples["courier_ledger_drift_dollars",] == 2.5
    assert samples["courier_reconciliation_age_seconds",] >= 0
    assert samples["courier_rollup_age_seconds",] >= 0


async def test_a_database_that_does_not_answer_holds_no_scrape_up(scrape, courier, monkeypatch):
    def fail():
        raise ConnectionError

    monkeypatch.setattr(metrics, "read_ledger", fail)

    await scrape()
    samples = await scrape()

    assert ("courier_ledger_differs",) not in samples


async def test_r35_how_busy_it_is_and_whom_it_turned_away_is_told(scrape, monkeypatch):
    monkeypatch.setattr(metrics.load, "turned_away", 7)
    monkeypatch.setattr(metrics.load, "_waiting", deque([print, print]))
    monkeypatch.setattr(metrics.strangers, "refused", 8)
    monkeypatch.setattr(metrics.connections, "refused", 9)

    samples = await scrape()

    assert samples["courier_requests_turned_away_total",] == 7
    assert samples["courier_unknown_keys_refused_total",] == 8
    assert samples["courier_connections_refused_total",] == 9
    assert 0 <= samples["courier_turned_away_share",] <= 1
    assert samples["courier_event_loop_lag_seconds",] >= 0
    assert samples["courier_requests_waiting",] == 2
    assert samples["courier_connections",] >= 1


async def test_r42_how_many_tasks_the_event_loop_has_is_told(scrape):
    before = (await scrape())["courier_tasks",]
    idle = [asyncio.create_task(asyncio.sleep(60)) for _ in range(100)]
    samples = await scrape()
    for task in idle:
        task.cancel()

    # Courier's own come and go.
    assert 90 <= samples["courier_tasks",] - before <= 110
