"""R26: a role that can add to the ledger, and can neither change nor remove what is there."""

import io
import os
import subprocess
import sys

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from tests import factories
from tests.sources import CHECKOUT
from tests.usage.spools import OwnSpool, empty_log, make_attempt, make_record
from usage import partitions, roles
from usage.append_only import LEDGER
from usage.models import QuarantinedRecord, SpoolCursor, TeamTag, UsageAttempt, UsageRecord

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no roles"),
]

TIMES = 3
CHANGES = {
    "UPDATE": "UPDATE {} SET recorded_at = recorded_at",
    "DELETE": "DELETE FROM {}",
    "TRUNCATE": "TRUNCATE {}",
}


@pytest.fixture
def role():
    """A role of its own for each worker of the tests, without rights to begin with."""
    name = f"ledger_{connection.settings_dict['NAME']}"
    execute(f'CREATE ROLE "{name}" LOGIN')
    yield name
    execute(f'DROP OWNED BY "{name}"')
    execute(f'DROP ROLE "{name}"')


def execute(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def url_for(role):
    described = connection.settings_dict
    return f"postgres://{role}@{described['HOST']}:{described['PORT']}/{described['NAME']}"


def granted(*arguments):
    told = io.StringIO()
    call_command("ledger_role", *arguments, stdout=told)
    return told.getvalue()


def all_of_the_ledger():
    tables = [*partitions.TABLES, partitions.DECISIONS]
    made = [day.name for table in tables for day in partitions.existing(table)]
    return [*LEDGER, *map(partitions.default_of, tables), *made]


@pytest.mark.parametrize("options", [(), ("--serving",)], ids=["writing", "serving"])
def test_r26_every_change_of_every_table_is_refused_each_time(role, own, options):
    own.record(make_record(tries=[make_attempt()]))
    own.ship()
    granted(role, *options)
    refusals = 0

    with psycopg.connect(url_for(role), autocommit=True) as as_role:
        for table in all_of_the_ledger():
            for change in CHANGES.values():
                for _ in range(TIMES):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        as_role.execute(change.format(table))
                    refusals += 1

    assert refusals == TIMES * len(CHANGES) * len(all_of_the_ledger())
    assert UsageRecord.objects.count() == 1


def test_a_partition_that_is_made_later_is_no_way_around(role):
    granted(role)
    tomorrow = partitions.existing(LEDGER[0])[-1]
    partitions.drop(tomorrow)
    partitions.look_after()

    with psycopg.connect(url_for(role), autocommit=True) as as_role:
        for change in ("DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                as_role.execute(change.format(tomorrow.name))

    assert roles.excess(role) == []


def ship_as(role, root, variable):
    """Run what ships a spool, in a process of its own."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "courier_site.settings",
        "DATABASE_URL": url_for("courier"),
        "COURIER_DATA_DIR": str(root),
        variable: url_for(role),
    }
    command = [sys.executable, "manage.py", "ship_spool"]
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("options", "variable"),
    [((), "COURIER_LEDGER_DATABASE_URL"), (("--serving",), "DATABASE_URL")],
    ids=["writing", "serving"],
)
def test_usage_is_written_under_the_role(role, tmp_path, options, variable):
    price = factories.make_price(factories.make_model())
    granted(role, *options)
    dead = OwnSpool(tmp_path / "spool")
    dead.record(make_record(tags="blue", tries=[make_attempt()]), make_record(key_id=None))
    dead.recorder.open(late := make_record(price_id=price.pk))
    dead.crash()

    shipped = ship_as(role, tmp_path, variable)
    again = OwnSpool(tmp_path / "spool")
    again.recorder.close(late)
    again.crash()
    shipped_again = ship_as(role, tmp_path, variable)

    assert (shipped.returncode, shipped_again.returncode) == (0, 0), shipped.stderr
    assert sorted(UsageRecord.objects.values_list("outcome", flat=True)) == ["interrupted", "ok"]
    assert UsageAttempt.objects.count() == 1
    assert TeamTag.objects.get().tag == "blue"
    assert QuarantinedRecord.objects.count() == 1
    assert not SpoolCursor.objects.exists()
    assert written_by("usage_usageadjustment") == 1
    empty_log()


def written_by(table):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return cursor.fetchone()[0]


def test_the_writing_role_reads_nothing_that_is_not_its_business(role):
    granted(role)

    with psycopg.connect(url_for(role), autocommit=True) as as_role:
        for table in ("accounts_apikey", "accounts_user", "registry_upstreamkey"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                as_role.execute(f"SELECT * FROM {table}")


def test_a_role_that_may_change_the_ledger_by_other_ways_is_not_called_bound(role):
    execute(f'GRANT "{connection.settings_dict["USER"]}" TO "{role}"')

    with pytest.raises(CommandError, match="has more from elsewhere: .*DELETE on usage_usage"):
        granted(role)


def test_rights_that_it_had_before_are_taken(role):
    execute(f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{role}"')

    assert "nothing else" in granted(role)


def test_a_role_that_is_missing_is_told():
    with pytest.raises(CommandError, match="There is no role nobody"):
        granted("nobody")


def test_without_a_name_or_a_url_it_says_what_to_do():
    with pytest.raises(CommandError, match="Name a role, or set COURIER_LEDGER_DATABASE_URL"):
        granted()
