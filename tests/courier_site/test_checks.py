"""What keeps Courier from starting."""

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from courier_site import checks


def faults():
    """Ids of what is wrong with the settings."""
    found = checks.run_checks(tags=[checks.TAG])
    return [message.id for message in found]


def test_the_settings_of_a_laptop_have_no_fault():
    assert faults() == []


def test_an_unknown_role_is_refused(settings):
    settings.COURIER_ROLE = "gatway"

    assert faults() == ["courier.E001"]


@pytest.mark.parametrize("role", ["all", "gateway", "admin"])
def test_every_role_of_the_contract_is_known(settings, role):
    settings.COURIER_ROLE = role

    assert faults() == []


def test_no_server_process_is_too_few(settings):
    settings.COURIER_WORKERS = 0

    assert faults() == ["courier.E002"]


def test_several_server_processes_need_redis(settings):
    settings.COURIER_WORKERS, settings.REDIS_URL = 2, ""

    assert faults() == ["courier.E003"]


def test_several_server_processes_may_share_redis(settings):
    settings.COURIER_WORKERS, settings.REDIS_URL = 2, "redis://127.0.0.1:6379"

    assert faults() == []


@pytest.mark.parametrize("name", ["SECRET_KEY", "COURIER_KEY_PEPPER"])
@pytest.mark.parametrize(
    "secret",
    ["short", "a" * 64, "change-me-0123456789abcdefghijklmnopqrst", "ab" * 30],
    ids=["short", "one letter", "an example", "two letters"],
)
def test_a_weak_secret_is_refused_in_production(settings, name, secret):
    settings.PRODUCTION = True
    setattr(settings, name, secret)

    assert faults() == ["courier.E004"]


def test_an_empty_pepper_is_refused_in_production(settings):
    settings.PRODUCTION = True
    settings.COURIER_KEY_PEPPER = ""

    assert faults() == ["courier.E004"]


def test_no_encryption_key_is_refused_in_production(settings):
    settings.PRODUCTION = True
    settings.COURIER_ENCRYPTION_KEYS = []

    assert faults() == ["courier.E004"]


def test_every_encryption_key_of_the_ring_has_to_be_strong(settings):
    settings.PRODUCTION = True
    settings.COURIER_ENCRYPTION_KEYS = [*settings.COURIER_ENCRYPTION_KEYS, "short"]

    assert faults() == ["courier.E004"]


def test_a_weak_secret_is_only_warned_of_on_a_laptop(settings):
    settings.SECRET_KEY = "short"

    assert faults() == ["courier.W004"]


def test_one_secret_for_two_purposes_is_refused_in_production(settings):
    settings.PRODUCTION = True
    settings.COURIER_KEY_PEPPER = settings.SECRET_KEY

    assert faults() == ["courier.E005"]


def test_a_malformed_network_is_refused(settings):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = ["10.0.0.0/8", "10.0.0.0/64"]

    assert faults() == ["courier.E006"]


def test_debug_is_refused_in_production(settings):
    settings.PRODUCTION = settings.DEBUG = True

    assert faults() == ["courier.E007"]


def test_a_fault_is_told_with_its_hint_and_without_the_secret(settings):
    settings.PRODUCTION = True
    settings.COURIER_KEY_PEPPER = "pepper-0123"

    with pytest.raises(
        checks.Misconfigured, match=r"courier\.E004: COURIER_KEY_PEPPER is weak"
    ) as told:
        checks.require()

    assert "Set 32 or more random characters" in str(told.value)
    assert "pepper-0123" not in str(told.value)


@pytest.fixture
def _migration_missing(db):
    (last,) = MigrationLoader(connection).graph.leaf_nodes("registry")
    MigrationRecorder(connection).record_unapplied(*last)


@pytest.mark.usefixtures("_migration_missing")
def test_a_database_without_its_migrations_is_refused(monkeypatch):
    monkeypatch.setattr(connection, "close", lambda: None)

    with pytest.raises(checks.Misconfigured, match="migrations have not been run"):
        checks.require()


@pytest.mark.parametrize("word", ["refuse", "allow"])
def test_what_becomes_of_an_unknown_price_has_two_words(settings, word):
    settings.COURIER_UNPRICED = word

    assert faults() == []


def test_another_word_for_it_is_refused(settings):
    settings.COURIER_UNPRICED = "alow"

    assert faults() == ["courier.E008"]


@pytest.mark.parametrize("word", ["off", "digest", "memory", "shared"])
def test_what_is_kept_for_repeats_may_be(settings, word):
    settings.COURIER_IDEMPOTENCY = word

    assert faults() == []


def test_what_is_kept_for_repeats_is_one_of_four_words(settings):
    settings.COURIER_IDEMPOTENCY = "redis"

    assert faults() == ["courier.E009"]
