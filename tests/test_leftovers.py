"""What a test that commits leaves in the database is gone before the next."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from tests import factories, leftovers
from usage import partitions

pytestmark = pytest.mark.django_db(transaction=True)


def test_no_table_keeps_a_row():
    factories.make_key(factories.make_team(owner=factories.make_user()))
    factories.make_route(factories.make_model(), factories.make_provider())
    assert len(leftovers.filled()) > 6

    leftovers.take_away()

    assert leftovers.filled() == []


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no partitions")
def test_no_day_of_the_past_is_left():
    table = partitions.TABLES[0]
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    partitions.make(partitions.Partition(table, yesterday))

    leftovers.take_away()

    assert yesterday not in [partition.day for partition in partitions.existing(table)]


def test_permissions_stay():
    before = list(Permission.objects.values_list("id", "codename"))
    factories.make_user().user_permissions.set(Permission.objects.all())

    leftovers.take_away()

    assert list(Permission.objects.values_list("id", "codename")) == before


@pytest.mark.parametrize("change", [
    lambda: Permission.objects.last().delete(),
    lambda: Permission.objects.create(codename="new", content_type=ContentType.objects.last()),
])  # fmt: skip
def test_permissions_that_a_test_has_changed_are_made_again(change):
    before = set(Permission.objects.values_list("codename", flat=True))
    change()

    leftovers.take_away()

    assert set(Permission.objects.values_list("codename", flat=True)) == before
