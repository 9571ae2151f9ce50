"""The configuration as a manifest: complete, free of secrets, and without effect when applied."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from django.db import IntegrityError, transaction

from accounts import keys
from accounts.models import ApiKey, Budget, Plan, RateLimit, Team
from courier_site import manifest
from registry.models import (
    Price,
    Provider,
    Revision,
    Route,
    RoutingPolicy,
    ServedModel,
    UpstreamKey,
)
from tests import factories
from tests.courier_site.manifests import KEY_SECRET, UPSTREAM_SECRET, WHOLE, apply, plan

pytestmark = pytest.mark.django_db


def test_applying_an_export_changes_nothing():
    apply(WHOLE)
    before = Revision.objects.get().number

    outcome = apply(manifest.export())

    assert (outcome.changes, outcome.diff) == ([], "")
    assert Revision.objects.get().number == before


def test_applying_an_export_with_its_variables_set_changes_nothing():
    apply(WHOLE)
    environ = {"LOCAL_FIRST": UPSTREAM_SECRET, "RESEARCH_DEMO": KEY_SECRET}

    assert apply(manifest.export(), environ).changes == []


def test_applying_an_export_under_another_name_changes_nothing():
    apply(WHOLE)

    outcome = manifest.apply(
        manifest.Document("export.yaml", manifest.export(), {}), mark="export.yaml"
    )

    assert outcome.changes == []
    assert Provider.objects.first().managed_by == "courier.yaml"


def test_an_export_of_nothing_is_a_manifest():
    assert yaml.safe_load(manifest.export()) == {"version": 1}


def test_an_export_holds_no_secret():
    apply(WHOLE)

    text = manifest.export()

    assert UPSTREAM_SECRET not in text
    assert KEY_SECRET not in text
    assert ApiKey.objects.get().digest not in text


def test_an_export_refers_to_secrets():
    apply(WHOLE)

    text = manifest.export()

    assert "secret: ${LOCAL_FIRST}" in text
    assert "secret: ${RESEARCH_DEMO}" in text


def test_references_are_told_apart_where_names_are_alike():
    provider = factories.make_provider("a-b")
    factories.make_upstream_key(provider, name="c d")
    factories.make_upstream_key(provider, name="c-d")

    text = manifest.export()

    assert "${A_B_C_D}" in text
    assert "${A_B_C_D_2}" in text


def test_an_export_makes_the_same_configuration_elsewhere():
    apply(WHOLE)
    text = manifest.export()
    ApiKey.objects.all().delete()
    ServedModel.objects.all().delete()
    Provider.objects.all().delete()

    apply(text, {"LOCAL_FIRST": UPSTREAM_SECRET, "RESEARCH_DEMO": KEY_SECRET})

    assert manifest.export() == text
    assert ApiKey.objects.get().digest == keys.digest(KEY_SECRET)


def test_what_is_switched_off_is_exported_so():
    provider = factories.make_provider("off", enabled=False)
    factories.make_upstream_key(provider, enabled=False)
    factories.make_model("off", provider, enabled=False)
    provider.routes.update(enabled=False)
    keys.disable_key(factories.make_key())

    assert manifest.export().count("enabled: false") == 5
    assert plan(manifest.export()).changes == []


def test_revoked_keys_are_not_exported():
    keys.revoke_key(factories.make_key(name="gone"))

    assert "gone" not in manifest.export()


def test_a_rotated_key_is_left_alone_by_its_export():
    key = factories.make_key()
    keys.rotate_key(key, timedelta(hours=1))

    assert plan(manifest.export()).changes == []


def test_text_that_looks_like_a_reference_survives():
    factories.make_model("tiny", description="costs ${PRICE} and $${MORE}")

    assert plan(manifest.export()).changes == []


@pytest.mark.parametrize("name", ["on", "7", "2026-01-01", "null", "a: b", "#1", "研究"])
def test_awkward_names_survive(name):
    factories.make_team(name)

    assert plan(manifest.export()).changes == []


#: Where a price came from is no part of the configuration.
NOT_EXPORTED = {(Price, "source")}
CONFIGURED = (
    *(Provider, UpstreamKey, ServedModel, Route, Price, RoutingPolicy),
    *(Plan, Team, ApiKey, RateLimit, Budget),
)


def another(field, value):
    """Some other value that the field may have."""
    if field.choices:
        return next(choice for choice, _ in field.flatchoices if choice != value)
    match field.get_internal_type():
        case "BooleanField":
            return not value
        case "JSONField":
            return {"x": 1} if isinstance(field.get_default(), dict) else ["x"]
        case "DateTimeField":
            return datetime(2031, 1, 1, tzinfo=UTC)
        case "CharField" | "SlugField":
            return f"{value}x"
    return (value or 0) + 7


def editable_fields():
    for model in CONFIGURED:
        for field in model._meta.concrete_fields:
            left_out = field.primary_key or field.is_relation or (model, field.name) in NOT_EXPORTED
            if field.editable and not left_out:
                yield model, field


def is_exported(model, field, before):
    """Whether an export tells of another value, in the first row that may have it."""
    for row in model.objects.all():
        value = another(field, getattr(row, field.name))
        with contextlib.suppress(IntegrityError), transaction.atomic():
            model.objects.filter(pk=row.pk).update(**{field.name: value})
            after = manifest.export()
            transaction.set_rollback(True)
            return after != before
    raise AssertionError(f"No {model.__name__} may have another {field.name}.")


def test_whatever_people_can_change_is_exported():
    """A rollback gives what an export leaves out its default."""
    apply(f"{WHOLE}plans: [{{name: standard, description: x}}]\n")
    UpstreamKey.objects.update(budget=5)
    Price.objects.update(free=False)
    before = manifest.export()

    left_out = [
        f"{model._meta.model_name}.{field.name}"
        for model, field in editable_fields()
        if not is_exported(model, field, before)
    ]

    assert left_out == []
