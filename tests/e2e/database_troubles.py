"""What may happen to a PostgreSQL: each trouble lasts as long as its block."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest

OTHERS = "datname = 'courier' AND pid <> pg_backend_pid()"


def connected(postgres, **options):
    return psycopg.connect(postgres.url(), autocommit=True, **options)


@contextlib.contextmanager
def stopped(postgres):
    """At once, with all connections."""
    postgres.halt()
    yield
    postgres.start()


@contextlib.contextmanager
def frozen(postgres):
    """Every process of it: connections stay, and nobody answers."""
    processes = [postgres._process.pid, *children_of(postgres._process.pid)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    yield
    for process in processes:
        os.kill(process, signal.SIGCONT)


def children_of(parent):
    """The processes that a process has started."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may hold anything: the state, then the parent.
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(status.parent.name)


@contextlib.contextmanager
def slow(postgres):
    """Every batch of the log takes a second."""
    with connected(postgres) as connection:
        connection.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$"
        )
        connection.execute(
            "CREATE TRIGGER slow BEFORE INSERT ON usage_usagerecord "
            "FOR EACH STATEMENT EXECUTE FUNCTION slow()"
        )
        yield
        connection.execute("DROP FUNCTION slow CASCADE")


@contextlib.contextmanager
def read_only(postgres):
    """The whole server takes no writes."""
    with connected(postgres) as connection:
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
    with contextlib.ExitStack() as stack, connected(postgres) as own:
        own.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}")
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(psycopg.connect(postgres.url(), connect_timeout=2))
        yield


@contextlib.contextmanager
def kept_out(postgres):
    """The same, and whoever gets a place nevertheless is ended at once."""
    taken = []

    def take_all():
        pids = [each.info.backend_pid for each in taken]
        own.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS} "
            "AND pid <> ALL(%s)",
            [pids],
        )
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                taken.append(psycopg.connect(postgres.url(), connect_timeout=2))

    with connected(postgres) as own:
        take_all()
        with repeatedly(take_all):
            time.sleep(0.5)
            yield
        for connection in taken:
            connection.close()


@contextlib.contextmanager
def killed_backends(postgres):
    """Whatever connects is ended a moment later, for a second."""
    with connected(postgres) as connection:
        for _ in range(20):
            connection.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}"
            )
            time.sleep(0.05)
        yield


@contextlib.contextmanager
def repeatedly(provoke):
    """Provoke something in a thread, again and again."""
    over = threading.Event()

    def run():
        while not over.wait(0.05):
            provoke()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    over.set()
    thread.join()


@contextlib.contextmanager
def deadlocks(postgres):
    """Somebody locks what the shipper locks, in another order; it is the shipper that is ended."""

    def provoke():
        with contextlib.suppress(psycopg.Error), psycopg.connect(postgres.url()) as connection:
            connection.execute("LOCK TABLE usage_spoolcursor IN ACCESS EXCLUSIVE MODE")
            # By now the shipper has written to the log, and waits for the cursor.
            time.sleep(0.4)
            connection.execute("LOCK TABLE usage_usagerecord IN ACCESS EXCLUSIVE MODE")

    with repeatedly(provoke):
        yield
    with connected(postgres) as connection:
        counted = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'courier'"
        assert connection.execute(counted).fetchone()[0] > 0


@contextlib.contextmanager
def serialization_failures(postgres):
    """Transactions see one moment, and somebody changes the cursor meanwhile."""

    def provoke():
        # Of two the later one is refused, and that may be this one.
        refused = contextlib.suppress(psycopg.errors.SerializationFailure)
        with refused, psycopg.connect(postgres.url()) as connection:
            connection.execute("UPDATE usage_spoolcursor SET position = position")
            time.sleep(0.1)

    with connected(postgres) as connection:
        isolation = "default_transaction_isolation"
        connection.execute(f"ALTER DATABASE courier SET {isolation} = 'repeatable read'")
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}")
        with repeatedly(provoke):
            yield
        connection.execute(f"ALTER DATABASE courier RESET {isolation}")
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}")


@contextlib.contextmanager
def full_disk(postgres):
    """The log's tables are moved to a file system of a few megabytes, which is then filled."""
    folder = small_disk(postgres.after, "8m")
    with connected(postgres) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid) "
            "AND relname LIKE 'usage_usagerecord%'"
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


@contextlib.contextmanager
def full_cluster(postgres):
    """Everything of it is on a file system that is filled: it cannot write its own log, and ends.

    The cluster must be on one, see `small_disk`.
    """
    filler = postgres._dir / "filler"
    with filler.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * (1 << 16))
            file.flush()
    with contextlib.suppress(psycopg.Error), connected(postgres) as connection:
        connection.execute("CREATE TABLE filler (x text)")
        while True:
            connection.execute("INSERT INTO filler SELECT repeat('x', 300) "
                               "FROM generate_series(1, 2000)")  # fmt: skip
    yield
    filler.unlink()
    # What an operator does, and no more: room, and a start if it has ended.
    if postgres._process.poll() is not None:
        postgres.start()
    postgres.wait_until_ready()


def small_disk(after, size):
    """A folder of PostgreSQL's own with little room, until `after` is done."""
    if os.geteuid() != 0:
        pytest.skip("Only root may mount a small file system.")
    folder = Path(tempfile.mkdtemp(prefix="courier-small-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("This machine mounts no tmpfs.")
    after.callback(subprocess.run, ["umount", folder], check=True)
    shutil.chown(folder, "postgres", "postgres")
    return folder
