"""The number by which every process learns that the configuration changed."""

import pytest
from django.contrib.auth.models import Group

from accounts.models import RateLimit
from registry.models import Revision
from tests.factories import (
    make_limit,
    make_model,
    make_price,
    make_provider,
    make_team,
    make_upstream_key,
    make_user,
)

pytestmark = pytest.mark.django_db


def number():
    return Revision.objects.filter(pk=1).values_list("number", flat=True).first() or 0


@pytest.fixture
def bumped():
    """How often the number changed since the fixture was made."""
    before = number()
    return lambda: number() - before


def test_the_first_bump_makes_the_row():
    Revision.bump()
    Revision.bump()

    assert number() == 2
    assert Revision.objects.count() == 1


def test_saving_changes_the_number(bumped):
    make_provider()

    assert bumped() == 1


def test_saving_again_changes_it_again():
    provider = make_provider()
    before = number()

    provider.save()

    assert number() == before + 1


def test_deleting_changes_it():
    provider = make_provider()
    before = number()

    provider.delete()

    assert number() == before + 1


def test_what_is_deleted_along_counts_as_a_change():
    model = make_model("m", aliases=["alias"])
    before = number()

    model.delete()

    assert number() > before


@pytest.mark.parametrize(
    "change",
    [
        lambda: make_upstream_key(make_provider()),
        lambda: make_price(make_model()),
        lambda: make_team(),
        lambda: make_limit(team=make_team()),
        lambda: make_user(),
    ],
    ids=["upstream key", "price", "team", "limit", "user"],
)
def test_every_part_of_the_configuration_counts(change):
    before = number()

    change()

    assert number() > before


def test_signing_in_does_not():
    user = make_user()
    before = number()

    user.save(update_fields=["last_login"])

    assert number() == before


def test_a_table_of_another_application_does_not(bumped):
    Group.objects.create(name="auditors")

    assert bumped() == 0


def test_a_queryset_s_update_does_not(bumped):
    RateLimit.objects.update(amount=3)

    assert bumped() == 0
