"""Couriers to test against: on SQLite alone, and on private PostgreSQL and Redis."""

import contextlib
import itertools
import shutil
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import services
from tests.e2e.courier import Courier, PostgresAndRedis, SQLite
from tests.e2e.manifests import manifest
from tests.fakes.upstream import ScriptedUpstream

_numbers = itertools.count(1)

#: What takes longest, to begin with: begun last, it would keep one worker when the others rest.
FIRST = (
    "test_two_instances.py",
    "test_browser.py",
    "test_no_secrets.py",
    "test_kill.py",
    "test_truth.py",
    "test_budgets.py",
    "test_database_away.py",
)
#: Where each test has a Courier of its own, or several.
ALONE = {"test_database_away.py", "test_process_faults.py", "test_stop.py", "test_up.py"}
KINDS = ("sqlite", "postgres")


class Sharing(LoadScopeScheduling):
    """Sends tests that share a Courier to one worker, and all others to where there is room."""

    def _split_scope(self, nodeid):
        module, _, name = nodeid.partition("::")
        if Path(module).name in ALONE:
            return nodeid
        parameters = name.partition("[")[2]
        return f"{module} on {[kind for kind in KINDS if kind in parameters]}"


def pytest_xdist_make_scheduler(config, log):
    return Sharing(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_collection_modifyitems(items):
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.e2e)
    if len(ours) == len(items):
        items.sort(key=_turn_of)


def _turn_of(item):
    return FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    """A migrated SQLite file, to be copied."""
    directory = tmp_path_factory.mktemp("migrated")
    Courier(directory, SQLite(directory / "courier.sqlite3")).manage("migrate", "-v0")
    return directory / "courier.sqlite3"


@pytest.fixture(scope="session")
def migrated_postgres(postgres, redis_server, tmp_path_factory):
    """The name of a migrated database, to be copied."""
    postgres.create_database("migrated")
    database = PostgresAndRedis(postgres, "migrated", redis_server.url())
    Courier(tmp_path_factory.mktemp("migrated"), database).manage("migrate", "-v0")
    return "migrated"


@pytest.fixture(scope="session")
def make_database(request, tmp_path_factory):
    """A function that makes a new, migrated database of one kind."""

    def make(kind):
        number = next(_numbers)
        directory = tmp_path_factory.mktemp("courier")
        if kind == "sqlite":
            template = request.getfixturevalue("migrated_sqlite")
            shutil.copy(template, directory / "courier.sqlite3")
            return directory, SQLite(directory / "courier.sqlite3")
        template = request.getfixturevalue("migrated_postgres")
        postgres = request.getfixturevalue("postgres")
        redis_server = request.getfixturevalue("redis_server")
        postgres.create_database(f"courier_{number}", template)
        return directory, PostgresAndRedis(
            postgres, f"courier_{number}", redis_server.url(number % 64)
        )

    return make


@pytest.fixture(scope="module")
def launch(make_database):
    """A function that starts a Courier with a manifest. All are stopped after the module."""
    with contextlib.ExitStack() as stack:

        def launch(manifest=None, *, database="sqlite", **environment):
            courier = Courier(*make_database(database), **environment)
            stack.callback(courier.stop)
            if manifest:
                courier.apply(manifest)
            return courier.start()

        yield launch


@pytest.fixture
def own_postgres(postgres):
    """A second server, for one test alone to break. What is on its `after` is done at the end."""
    server = services.Postgres()
    with contextlib.ExitStack() as server.after:
        yield server
        server.stop()


@pytest.fixture
def own_redis(redis_server):
    """A second Redis, for one test alone to break."""
    server = services.Redis()
    yield server
    server.stop()


@pytest.fixture
def own_courier(own_postgres, own_redis, shared_upstream, tmp_path, request):
    """A Courier that is configured and not started, over services of its own.

    A parameter is of its environment.
    """
    database = PostgresAndRedis(own_postgres, "courier", own_redis.url())
    courier = Courier(tmp_path, database, **getattr(request, "param", {}))
    courier.manage("migrate", "-v0")
    courier.apply(manifest(shared_upstream.url, limits={"rpm": 100_000}))
    yield courier
    courier.stop()


@pytest.fixture(scope="module", params=KINDS)
def kind_of_database(request):
    return request.param


@pytest.fixture(scope="module")
def shared_upstream():
    """A scripted upstream that serves all tests of a module."""
    with ScriptedUpstream() as server:
        yield server
