"""R38 and R39: a database that is away, or that takes nothing, is no reason to serve nobody."""

import asyncio
import collections
import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from tests import services
from tests.e2e.client import try_to_ask
from tests.e2e.courier import Courier, PostgresAndRedis
from tests.e2e.manifests import KEY, manifest
from tests.soak import trials

UNKNOWN = "e2e-unknown-0123456789abcdef0123456789"
AWAY_S = trials(3, 600)
TROUBLED_S = trials(2, 20)


@pytest.fixture
def own_postgres(postgres):
    """A second server, for this test alone to stop."""
    server = services.Postgres()
    with contextlib.ExitStack() as server.after:
        yield server
        server.stop()


@pytest.fixture
def courier(own_postgres, redis_server, shared_upstream, tmp_path):
    database = PostgresAndRedis(own_postgres, "courier", redis_server.url(63))
    courier = Courier(tmp_path, database)
    courier.manage("migrate", "-v0")
    courier.apply(manifest(shared_upstream.url))
    yield courier.start()
    courier.stop()


async def ask_steadily(stopped, courier, replies, **options):
    while not stopped.is_set():
        replies.append(await try_to_ask(courier, **options))
        await asyncio.sleep(0.05)


@pytest.mark.timeout(120 + 2 * AWAY_S)
async def test_r38_known_keys_go_on_while_the_database_is_away(courier, own_postgres):
    known, unknown, stopped = [], [], asyncio.Event()
    assert (await try_to_ask(courier)).status == 200
    callers = [asyncio.create_task(ask_steadily(stopped, courier, known)) for _ in range(4)]
    await asyncio.sleep(0.5)

    await asyncio.to_thread(own_postgres.halt)
    callers.append(asyncio.create_task(ask_steadily(stopped, courier, unknown, key=UNKNOWN)))
    await asyncio.sleep(AWAY_S)
    stopped.set()
    await asyncio.gather(*callers)
    await asyncio.to_thread(own_postgres.start)

    began = time.monotonic()
    records = await asyncio.to_thread(courier.wait_for_records, len(known) + 1, 30)
    print(f"\n{records} records within {time.monotonic() - began:.1f} s of the return")
    statuses = collections.Counter(reply.status for reply in known)
    refusals = collections.Counter((reply.status, reply.code) for reply in unknown)
    print(f"\nknown {dict(statuses)}, unknown {dict(refusals)}, {records} records afterwards")
    assert statuses == {200: len(known)}
    assert set(refusals) == {(503, "identity_unavailable")}
    assert records == len(known) + 1
    assert await refused_again(courier)
    assert KEY not in courier.read_log()


@contextlib.contextmanager
def read_only(postgres):
    """The whole server takes no writes."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
        yield
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        connection.execute("SELECT pg_reload_conf()")


@contextlib.contextmanager
def locked_table(postgres):
    with psycopg.connect(postgres.url()) as connection:
        connection.execute("LOCK TABLE usage_usagerecord IN ACCESS EXCLUSIVE MODE")
        yield


@contextlib.contextmanager
def out_of_connections(postgres):
    """Every connection is taken, and those that were open have been ended."""
    with contextlib.ExitStack() as stack, psycopg.connect(postgres.url(), autocommit=True) as own:
        own.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = 'courier' AND pid <> pg_backend_pid()"
        )
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(psycopg.connect(postgres.url(), connect_timeout=2))
        yield


@contextlib.contextmanager
def killed_backends(postgres):
    """Whatever connects is ended a moment later."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        for _ in range(20):
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = 'courier' AND pid <> pg_backend_pid()"
            )
            time.sleep(0.05)
        yield


@contextlib.contextmanager
def full_disk(postgres):
    """The log's tables are moved to a file system of a few megabytes, which is then filled."""
    if os.geteuid() != 0:
        pytest.skip("Only root may mount a small file system.")
    folder = small_disk(postgres)
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'usage_usagerecord%'"
        )
        for (name,) in tables.fetchall():
            connection.execute(f"ALTER TABLE {name} SET TABLESPACE small")
        connection.execute("CREATE TABLE filler (x text) TABLESPACE small")
        with contextlib.suppress(psycopg.errors.DiskFull):
            while True:
                connection.execute("INSERT INTO filler SELECT repeat('x', 300) "
                                   "FROM generate_series(1, 200)")  # fmt: skip
        yield
        connection.execute("DROP TABLE filler")


def small_disk(postgres):
    """A folder with room for a few megabytes, until the server has stopped."""
    folder = Path(tempfile.mkdtemp(prefix="courier-tablespace-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("This machine mounts no tmpfs.")
    postgres.after.callback(subprocess.run, ["umount", folder], check=True)
    shutil.chown(folder, "postgres", "postgres")
    return folder


TROUBLES = (read_only, locked_table, out_of_connections, killed_backends, full_disk)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
@pytest.mark.timeout(180 + 2 * TROUBLED_S)
async def test_r39_known_keys_go_on_while_the_database_takes_nothing(
    courier, own_postgres, trouble
):
    known, stopped = [], asyncio.Event()
    assert (await try_to_ask(courier)).status == 200
    callers = [asyncio.create_task(ask_steadily(stopped, courier, known)) for _ in range(4)]

    heal = trouble(own_postgres)
    await asyncio.to_thread(heal.__enter__)
    await asyncio.sleep(TROUBLED_S)
    stopped.set()
    await asyncio.gather(*callers)
    await asyncio.to_thread(heal.__exit__, None, None, None)
    records = await asyncio.to_thread(courier.wait_for_records, len(known) + 1, 60)

    statuses = collections.Counter(reply.status for reply in known)
    print(f"\n{trouble.__name__}: {dict(statuses)}, {records} records afterwards")
    assert statuses == {200: len(known)}
    assert records == len(known) + 1


async def refused_again(courier):
    """Whether an unknown key is unknown, and no longer unanswerable."""
    for _ in range(50):
        reply = await try_to_ask(courier, key=UNKNOWN)
        if reply.status == 401:
            return True
        await asyncio.sleep(0.1)
    return False
