"""Couriers to test against: on SQLite alone, and on private PostgreSQL and Redis."""

import contextlib
import itertools
import shutil
from pathlib import Path

import pytest

from tests import services
from tests.e2e.courier import Courier, PostgresAndRedis, SQLite
from tests.e2e.manifests import manifest
from tests.fakes.upstream import ScriptedUpstream

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


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


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def kind_of_database(request):
    return request.param


@pytest.fixture(scope="module")
def shared_upstream():
    """A scripted upstream that serves all tests of a module."""
    with ScriptedUpstream() as server:
        yield server
