"""Starts, kills and questions a Courier of its own."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from uuid import UUID

import psycopg
import yaml

from tests.services import free_port, stop_process, wait_for
from usage import frames, spool

CHECKOUT = Path(__file__).parents[2]
#: Words in the environment that would change what is tested.
OURS = ("COURIER_", "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DJANGO_", "PORT", "HOST")


class Database:
    """What holds Courier's tables: how to name it, ask it, and read all of it."""

    def environment(self):
        raise NotImplementedError

    def query(self, sql):
        raise NotImplementedError

    def dump(self):
        raise NotImplementedError


class SQLite(Database):
    """A file, with the in-process store for limits."""

    def __init__(self, path):
        self.path = path

    def environment(self):
        return {}

    def query(self, sql):
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as db:
            return db.execute(sql).fetchall()

    def dump(self):
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            return "\n".join(db.iterdump())


class PostgresAndRedis(Database):
    """A database of its own on the private PostgreSQL, and one on the private Redis."""

    def __init__(self, postgres, name, redis_url):
        self.postgres = postgres
        self.name = name
        self.redis_url = redis_url

    def environment(self):
        return {"DATABASE_URL": self.postgres.url(self.name), "REDIS_URL": self.redis_url}

    def query(self, sql):
        with psycopg.connect(self.postgres.url(self.name)) as connection:
            return connection.execute(sql).fetchall()

    def dump(self):
        return self.postgres.dump(self.name)


class Courier:
    """One installation: its data directory, its database, and its server processes."""

    #: What runs: one server alone, unless this is set to another program.
    program = ("-m", "courier_site.serve")

    def __init__(self, directory, database, **environment):
        self.directory = Path(directory)
        self.database = database
        self.port = free_port()
        self.log = self.directory / "server.log"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
            "COURIER_DATA_DIR": str(self.directory),
            "COURIER_ALLOW_PRIVATE_UPSTREAMS": "127.0.0.0/8",
            # Machines that run tests may stand still for a while; those that serve may not.
            "COURIER_REDIS_DEADLINE": "10",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            **database.environment(),
            **environment,
        }
        self._process = None

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"{self.origin}/v1"

    @property
    def process_id(self):
        return self._process.pid

    @property
    def is_running(self):
        return self._process is not None and self._process.poll() is None

    def manage(self, *arguments):
        """Run a management command; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"manage.py {arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def apply(self, manifest):
        """Configure with a manifest, given as data."""
        path = self.directory / "manifest.yaml"
        path.write_text(yaml.safe_dump(manifest))
        self.manage("apply", str(path))

    def start(self, within_s=120):
        self.begin()
        try:
            self.wait_until_ready(within_s)
        except TimeoutError:
            raise AssertionError(f"The server did not start:\n{self.read_log()[-4000:]}") from None
        return self

    def begin(self):
        """Start the server, without waiting for it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.program],
                cwd=CHECKOUT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self, within_s=120):
        wait_for(self.is_ready, "the server to be ready", within_s)

    def is_ready(self):
        return self.status("/health/ready") == 200

    def status(self, path):
        """The status of a GET, or None if nobody answers."""
        try:
            with urllib.request.urlopen(self.origin + path, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def kill(self):
        """SIGKILL to every process of the server, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self):
        if self._process is None:
            return
        stop_process(self._process, signal.SIGTERM, within_s=40)
        self.kill()

    def read_log(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def records(self, columns="request_id"):
        """Usage records: of one column a list, of more a list of tuples."""
        rows = self.database.query(f"SELECT {columns} FROM usage_usagerecord")
        return [row[0] for row in rows] if "," not in columns else rows

    def recorded_ids(self):
        return [UUID(str(value)) for value in self.records("request_id")]

    def wait_for_records(self, count, within_s=30):
        """Wait until this many requests are on record; returns how many there are."""
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: len(self.records()) >= count, "records", within_s, every_s=0.1)
        return len(self.records())

    def settled(self, for_s=1.0, within_s=60):
        """The ids on record once all that began here are, and no more have come for a while."""
        seen, since = len(self.recorded_ids()), time.monotonic()
        give_up_at = since + within_s
        while time.monotonic() - since < for_s or self.owes_a_record():
            assert time.monotonic() < give_up_at, "Records are still to come."
            time.sleep(0.2)
            now = len(self.recorded_ids())
            if now != seen:
                seen, since = now, time.monotonic()
        return self.recorded_ids()

    def owes_a_record(self):
        """Whether its spools hold a request that is open, or ended and not in the database."""
        shipped = self.database.query("SELECT segment, position FROM usage_spoolcursor")
        shipped = {UUID(str(segment)): position for segment, position in shipped}
        began, ended = set(), set()
        for segment, end, kind, request in self._spooled():
            if kind == frames.OPEN:
                began.add(request)
            elif kind == frames.CLOSE:
                ended.add(request)
                if end > shipped.get(segment, 0):
                    return True
        return bool(began - ended)

    def _spooled(self):
        """Of each payload its segment, where that goes on behind it, its kind and its request."""
        for path in self.directory.glob("spool/*/*.spool"):
            with contextlib.suppress(FileNotFoundError):  # shipped and removed meanwhile
                for line in spool.lines(path):
                    for payload in line.payloads:
                        request = json.loads(payload[1:]).get("request_id")
                        yield spool.id_of(path), line.end, payload[:1], request
