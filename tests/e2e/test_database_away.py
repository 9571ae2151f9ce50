"""R38 and R39: a database that is away, or that takes nothing, is no reason to serve nobody."""

import asyncio
import contextlib
import time

import httpx
import pytest

from tests import services
from tests.e2e import database_troubles as troubles
from tests.e2e.client import try_to_ask
from tests.e2e.courier import Courier, PostgresAndRedis
from tests.e2e.manifests import KEY, manifest
from tests.e2e.packets import vanished
from tests.e2e.steady import Steady
from tests.faults.figures import figure
from tests.soak import trials

UNKNOWN = "e2e-unknown-0123456789abcdef0123456789"
AWAY_S = trials(3, 600)
TROUBLED_S = trials(2, 20)
#: So long, in full, that waiting longer and longer would show: the next attempt, of those that
#: double their waits, would be half a minute later and more.
HALTED_S = trials(8, 85)
PASSWORD = "a long enough passphrase"
LOG = "/admin/usage/usagerecord/"
#: More than there are connections for pages.
MANY_PAGES = 12
#: What a page says whose statement takes too long, and one that no connection is left for.
GIVEN_UP = ("took the database too long", "does not answer")


@pytest.fixture
def courier(own_courier):
    return own_courier.start()


async def try_while(courier, postgres, trouble, lasting_s):
    """Known keys before, during and after a trouble; what they saw, and what others did."""
    assert (await try_to_ask(courier)).status == 200
    others = Steady(courier, callers=1, key=UNKNOWN)
    async with Steady(courier) as known:
        await asyncio.sleep(0.5)
        lasting = trouble(postgres)
        await asyncio.to_thread(lasting.__enter__)
        async with others:
            await asyncio.sleep(lasting_s)
        await known.stop()
        await asyncio.to_thread(lasting.__exit__, None, None, None)
    return known, others


async def records_of(courier, known, name, promise, within_s=60):
    """That all of them are on record once, soon after."""
    began = time.monotonic()
    records = await asyncio.to_thread(courier.wait_for_records, len(known.replies) + 1, within_s)
    took = time.monotonic() - began
    seen = (
        f"{name}: {len(known.replies)} requests, {dict(known.statuses)}, p50 "
        f"{known.took_ms():.0f} ms, p99 {known.took_ms(0.99):.0f} ms; on record {took:.1f} s after"
    )
    figure(promise, seen, "0 failures, all on record once")
    print(f"\n{seen}")
    return records


@pytest.mark.timeout(300 + 2 * AWAY_S)
@pytest.mark.parametrize("trouble", [
    troubles.stopped, troubles.frozen, pytest.param(vanished, marks=pytest.mark.fault),
])  # fmt: skip
async def test_r38_f40_f41_known_keys_go_on_while_the_database_is_away(
    courier, own_postgres, trouble
):
    known, unknown = await try_while(courier, own_postgres, trouble, AWAY_S)

    records = await records_of(courier, known, trouble.__name__, "R38")
    assert known.statuses == {200: len(known.replies)}
    assert set(unknown.codes) == {(503, "identity_unavailable")}
    assert records == len(known.replies) + 1
    assert await refused_again(courier)
    assert KEY not in courier.read_log()


TROUBLES = [
    pytest.param(troubles.read_only, id="read-only"),
    pytest.param(troubles.locked_table, id="f46-locked"),
    pytest.param(troubles.out_of_connections, id="f45-out-of-connections"),
    pytest.param(troubles.killed_backends, id="f46-killed-backends"),
    pytest.param(troubles.full_disk, id="f44-full-tablespace"),
    pytest.param(troubles.slow, id="f42-slow", marks=pytest.mark.fault),
    pytest.param(troubles.deadlocks, id="f46-deadlocks", marks=pytest.mark.fault),
    pytest.param(troubles.serialization_failures, id="f46-serialization", marks=pytest.mark.fault),
]


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.timeout(300 + 2 * TROUBLED_S)
async def test_r39_f42_f44_f45_f46_known_keys_go_on_while_the_database_takes_nothing(
    courier, own_postgres, trouble
):
    known, _ = await try_while(courier, own_postgres, trouble, TROUBLED_S)

    records = await records_of(courier, known, trouble.__name__, "R39")
    assert known.statuses == {200: len(known.replies)}
    assert records == len(known.replies) + 1


@pytest.fixture
def small_postgres(postgres):
    """A server with all its files on a small disk."""
    with contextlib.ExitStack() as after:
        server = services.Postgres(within=troubles.small_disk(after, "192m"))
        after.callback(server.stop)
        yield server


@pytest.mark.fault
async def test_r39_f44_a_cluster_whose_disk_was_full_needs_room_and_no_repair(
    small_postgres, own_redis, shared_upstream, tmp_path
):
    courier = Courier(tmp_path, PostgresAndRedis(small_postgres, "courier", own_redis.url()))
    courier.manage("migrate", "-v0")
    courier.apply(manifest(shared_upstream.url))
    courier.start()
    try:
        known, _ = await try_while(courier, small_postgres, troubles.full_cluster, TROUBLED_S)
        records = await records_of(courier, known, "the cluster's disk full", "R39")
    finally:
        courier.stop()
    assert known.statuses == {200: len(known.replies)}
    assert records == len(known.replies) + 1


@pytest.mark.fault
@pytest.mark.timeout(300 + 3 * HALTED_S)
async def test_f43_a_database_that_is_restarted_is_used_again_soon(courier, own_postgres):
    async with Steady(courier) as known:
        await asyncio.sleep(1)
        await asyncio.to_thread(own_postgres.halt)
        await asyncio.sleep(HALTED_S)
        await asyncio.to_thread(own_postgres.start)
        began, before = time.monotonic(), len(courier.records())
        recorded = await asyncio.to_thread(courier.wait_for_records, before + 1, 30)
        took = time.monotonic() - began
    records = await records_of(courier, known, "restarted", "F43")

    figure("F43", f"records flow {took:.1f} s after the restart", "≤ 5 s, none twice")
    assert recorded > before
    assert known.statuses == {200: len(known.replies)}
    assert records == len(known.replies)


@pytest.fixture
async def browser(courier):
    """Somebody who has signed in to the admin."""
    create = ("createsuperuser", "--noinput", "--username", "root", "--email", "root@example.com")
    courier.environment["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
    await asyncio.to_thread(courier.manage, *create)
    async with httpx.AsyncClient(base_url=courier.origin, trust_env=False, timeout=60) as browser:
        token = (await browser.get("/admin/login/")).cookies["csrftoken"]
        form = {"username": "root", "password": PASSWORD, "csrfmiddlewaretoken": token}
        assert (await browser.post("/admin/login/", data=form)).status_code == 302
        yield browser


@pytest.mark.fault
@pytest.mark.timeout(240)
async def test_f45_a_page_of_the_admin_says_that_the_database_does_not_answer(
    browser, own_postgres
):
    with troubles.kept_out(own_postgres):
        began = time.monotonic()
        away = await browser.get("/admin/")
        took = time.monotonic() - began
    back = away
    async with asyncio.timeout(30):
        while back.status_code != 200:
            back = await browser.get("/admin/")

    figure("F45", f"503 after {took:.1f} s", "503 ≤ 2 s")
    print(f"\n503 after {took:.2f} s")
    assert away.status_code == 503
    assert "does not answer" in away.text
    assert took < 20


@pytest.mark.fault
@pytest.mark.parametrize("own_courier", [{"COURIER_PAGE_TIMEOUT": "3"}], indirect=True)
async def test_f46_pages_that_wait_for_a_lock_are_given_up_while_requests_go_on(
    courier, browser, own_postgres
):
    assert (await try_to_ask(courier)).status == 200
    async with Steady(courier) as known:
        lasting = troubles.locked_table(own_postgres)
        await asyncio.to_thread(lasting.__enter__)
        began = time.monotonic()
        pages = await asyncio.gather(*(browser.get(LOG) for _ in range(MANY_PAGES)))
        took = time.monotonic() - began
        other = await browser.get("/admin/registry/provider/")
        await asyncio.to_thread(lasting.__exit__, None, None, None)
        back = await browser.get(LOG)

    records = await records_of(courier, known, "pages that wait", "R39")
    figure("F46", f"{MANY_PAGES} pages given up within {took:.1f} s", "each after 3 s")
    assert {page.status_code for page in pages} == {503}
    told = [sentence for page in pages for sentence in GIVEN_UP if sentence in page.text]
    assert len(told) == MANY_PAGES
    assert GIVEN_UP[0] in told
    assert (other.status_code, back.status_code) == (200, 200)
    assert took < 60
    assert known.statuses == {200: len(known.replies)}
    assert records == len(known.replies) + 1


async def refused_again(courier):
    """Whether an unknown key is unknown, and no longer unanswerable."""
    give_up_at = time.monotonic() + 30
    while (await try_to_ask(courier, key=UNKNOWN)).status != 401:
        if time.monotonic() > give_up_at:
            return False
        await asyncio.sleep(0.1)
    return True
