"""Fixtures that every test may use."""

import contextlib
import gc
import re

import hypothesis
import pytest
from django.db import connection

from accounts import admission, budgets, lookups, redis_line
from accounts.degraded import Fallback
from registry import snapshot
from tests import factories, leftovers, network, services
from tests.fakes.upstream import ScriptedUpstream
from tests.faults.proxy import FaultProxy
from tests.faults.upstream import ChaosUpstream

network.forbid()

# A busy machine is no fault of the code under test.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

#: How a test is named that keeps a promise or provokes a fault.
PROMISE = re.compile(r"test_[rfs]\d\d_")


def pytest_collection():
    # Fifteen thousand tests are no garbage. Nobody looks for any among them, now or later.
    gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items):
    for item in items:
        if PROMISE.match(item.name):
            item.add_marker(pytest.mark.promise)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """The plugin's, with a test database that nobody uses any more when it is dropped."""
    with django_db_blocker.unblock():
        leftovers.be_quick()
    yield
    with django_db_blocker.unblock():
        if connection.vendor == "postgresql":
            # A pool that is closed while it connects loses that connection, and leaves it open.
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            connection.close()


@pytest.fixture(autouse=True)
def _no_network():
    yield
    attempts, network.attempts[:] = list(network.attempts), []
    assert not attempts, f"The test reached for {attempts}."


@pytest.fixture(autouse=True)
def _no_snapshot_of_another_test(monkeypatch):
    monkeypatch.setattr(snapshot, "_current", snapshot.EMPTY)
    monkeypatch.setattr(snapshot, "_listeners", list(snapshot._listeners))


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """Machines that run tests may be slower than those that serve, and stand still meanwhile."""
    monkeypatch.setattr(lookups, "LONGEST_S", 30)
    monkeypatch.setattr(budgets, "REBUILD_WITHIN_S", 30)
    monkeypatch.setattr(redis_line, "CONNECT_S", 3.0)


@pytest.fixture(autouse=True)
def _no_admission_of_another_test(monkeypatch):
    monkeypatch.setattr(admission, "_fallback", Fallback())
    monkeypatch.setattr(admission, "_mode", admission.Mode.NORMAL)


@pytest.fixture
def alice(db):
    """The owner of the team."""
    return factories.make_user("alice")


@pytest.fixture
def bob(db):
    """A member of the team."""
    return factories.make_user("bob")


@pytest.fixture
def charlie(db):
    """A stranger to the team."""
    return factories.make_user("charlie")


@pytest.fixture
def team(alice, bob):
    return factories.make_team("research", owner=alice, members=[bob])


@pytest.fixture
def key(team):
    """A key of the team, with `key.secret`."""
    return factories.make_key(team, "notebook")


@pytest.fixture
def upstream():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="session")
def chaos_process(tmp_path_factory):
    """The chaos upstream: one process for all tests. Tests want `chaos`."""
    upstream = ChaosUpstream(tmp_path_factory.mktemp("chaos") / "record")
    yield upstream
    upstream.stop()


@pytest.fixture
def chaos(chaos_process):
    """An upstream in its own process that does what it is told and records what happened."""
    chaos_process.forget()
    return chaos_process


@pytest.fixture
def fault_proxy():
    """Makes proxies to a port, each with faults to be switched on."""
    with contextlib.ExitStack() as stack:
        yield lambda port: stack.enter_context(FaultProxy(port))


@pytest.fixture(scope="session")
def postgres():
    """A private PostgreSQL."""
    yield from _service(services.Postgres)


@pytest.fixture(scope="session")
def redis_server():
    """A private Redis."""
    yield from _service(services.Redis)


def _service(kind):
    try:
        service = kind()
    except services.Unavailable as reason:
        if services.REQUIRED:
            pytest.fail(str(reason))
        pytest.skip(str(reason))
    yield service
    service.stop()
