"""A rollback brings back what was exported, byte for byte; it opens no key and ends none."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import keys
from accounts.models import ApiKey, Budget, Plan, RateLimit, Team
from courier_site import manifest
from courier_site.revising import recording, rollback
from registry.models import (
    Alias,
    Price,
    Provider,
    RecordedRevision,
    Route,
    RoutingPolicy,
    ServedModel,
    UpstreamKey,
)
from registry.revisions import made_by
from tests.courier_site import manifests
from tests.factories import make_key

pytestmark = pytest.mark.django_db

PLANS = """\
plans:
  - name: standard
    description: What most have
    limits: {rpm: 120, models: {"*-large": {rpm: 10}}}
    budgets: [{amount: "20", period: day, window: rolling}]
"""


@pytest.fixture
def first():
    """The configuration that everything is brought back to."""
    manifests.apply(manifests.WHOLE.replace("\nteams:", f"\n{PLANS}teams:"))
    return RecordedRevision.objects.get(number=1)


def roll_back(revision):
    with made_by("admin", "root"):
        return rollback.roll_back(revision)


def is_back(revision):
    return manifest.export() == revision.manifest


def change_providers():
    Provider.objects.update(tls_timeout_s=9, drain_timeout_s=1)
    Provider.objects.update(enabled=False, idle_timeout_s=7, base_url="http://127.0.0.1:1/v1")
    Provider.objects.filter(name="backup").update(options={"speaks": []}, base_url="")
    UpstreamKey.objects.update(weight=9, enabled=False)
    UpstreamKey.objects.update(allowed_models=["x"], concurrency=4, budget=5, budget_period="day")


def change_models():
    ServedModel.objects.update(stickiness="session", context_fallbacks=["gpt-4o-mini"])
    ServedModel.objects.update(
        description="new", enabled=False, max_attempts=9, on_unsupported="drop", vision=True
    )


def change_policies():
    RoutingPolicy.objects.update(enabled=False, position=7, description="new", conditions={})
    RoutingPolicy.objects.create(name="another", actions={"exclude_providers": ["local"]})


def change_routes():
    Route.objects.update(priority=4, weight=3, enabled=False, tools=False, requires_certified=[])


def replace_routes_and_prices():
    Route.objects.all().delete()
    Price.objects.all().delete()


def change_prices():
    for price in Price.objects.standing():
        price.free, price.input = False, 3
        price.save()


def move_an_alias():
    other = ServedModel.objects.create(name="other")
    Alias.objects.filter(name="mini").update(model=other)


def call_a_model_like_an_alias():
    Alias.objects.all().delete()
    ServedModel.objects.create(name="mini")


def rename_everything():
    for model in (Provider, ServedModel, Plan, Team, ApiKey, UpstreamKey):
        for row in model.objects.all():
            row.name = f"{row.name}-2"
            row.save()


def leave_the_old_name_as_an_alias():
    ServedModel.objects.update(name="renamed")
    Alias.objects.create(name="gpt-4o-mini", model=ServedModel.objects.get())


def swap_two_names():
    local, backup = Provider.objects.get(name="local"), Provider.objects.get(name="backup")
    Provider.objects.filter(pk=local.pk).update(name="x")
    Provider.objects.filter(pk=backup.pk).update(name="local")
    Provider.objects.filter(pk=local.pk).update(name="backup")


def change_limits_and_budgets():
    RateLimit.objects.update(amount=1)
    Budget.objects.filter(period="month").update(hard=True, thresholds=[1], amount=1)
    Budget.objects.filter(period="total").delete()
    RateLimit.objects.create(metric="requests", window_s=3600, amount=1, team=Team.objects.get())


def change_keys_and_teams():
    Team.objects.update(time_zone="Asia/Seoul", markup_percent=10)
    ApiKey.objects.update(
        allowed_models=["*"], allowed_endpoints=[], expires_at=None, plan=Plan.objects.get()
    )


def add_things():
    manifests.apply(
        manifests.WHOLE.replace("local", "more")
        .replace("mini", "more")
        .replace("small", "tall")
        .replace("research", "sales")
        .replace(manifests.KEY_SECRET, manifests.KEY_SECRET.upper())
        + "plans: [{name: spare}]\n",
    )
    ApiKey.objects.filter(team__name="sales").update(revoked_at=timezone.now())


def delete_a_model():
    ServedModel.objects.all().delete()


EDITS = [
    change_providers,
    change_models,
    change_policies,
    change_routes,
    replace_routes_and_prices,
    change_prices,
    move_an_alias,
    call_a_model_like_an_alias,
    rename_everything,
    leave_the_old_name_as_an_alias,
    swap_two_names,
    change_limits_and_budgets,
    change_keys_and_teams,
    add_things,
    delete_a_model,
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_a_rollback_restores_the_same_bytes(first, edit):
    edit()
    assert not is_back(first)

    outcome = roll_back(first)

    assert is_back(first), outcome.warnings


def test_a_rollback_of_everything_at_once_restores_the_same_bytes(first):
    for edit in (rename_everything, change_models, change_routes, change_prices, add_things):
        edit()

    roll_back(first)

    assert is_back(first)


def test_a_rollback_is_a_revision_that_says_so(first):
    with made_by("admin", "root"):
        manifests.apply(manifests.WHOLE.replace("max_attempts: 2", "max_attempts: 5"))
    roll_back(first)

    made = RecordedRevision.objects.get(number=3)
    assert (made.note, made.author, made.manifest) == (
        "Restored revision 1.",
        "root",
        first.manifest,
    )


def test_a_rollback_can_be_rolled_back(first):
    with made_by("admin", "root"):
        change_limits_and_budgets()
        add_things()
    second = RecordedRevision.objects.get(number=2)
    roll_back(first)

    roll_back(second)

    assert is_back(second)


def test_the_plan_of_a_rollback_changes_nothing(first):
    change_models()
    before = manifest.export()

    planned = rollback.plan(first)

    assert manifest.export() == before
    assert [each.split(":")[0] for each in planned.changes] == ["change model gpt-4o-mini"]
    assert RecordedRevision.objects.count() == 1


def test_a_rollback_does_what_was_planned(first):
    rename_everything()
    planned = rollback.plan(first)

    assert roll_back(first).changes == planned.changes


def test_secrets_stay_as_they_are_now(first):
    row = UpstreamKey.objects.get()
    row.seal("sk-the-new-one")
    row.save()
    change_providers()

    roll_back(first)

    assert UpstreamKey.objects.get().secret == "sk-the-new-one"


def test_no_secret_comes_from_the_environment(first, monkeypatch):
    for name in re.findall(r"secret: \$\{(\w+)\}", first.manifest):
        monkeypatch.setenv(name, "sk-of-this-process")
    change_providers()

    roll_back(first)

    assert UpstreamKey.objects.get().secret == manifests.UPSTREAM_SECRET


def test_an_upstream_key_that_was_deleted_comes_back_without_a_secret(first):
    UpstreamKey.objects.all().delete()

    outcome = roll_back(first)

    assert is_back(first)
    assert UpstreamKey.objects.get().sealed_secret == ""
    assert "enter it again" in " ".join(outcome.warnings)


def test_a_revoked_key_never_comes_back_to_life(first):
    key = ApiKey.objects.get()
    keys.revoke_key(key)
    change_models()

    outcome = roll_back(first)

    key.refresh_from_db()
    assert key.state == "revoked"
    assert not ApiKey.objects.usable().exists()
    assert "The key demo was revoked, and stays so." in " ".join(outcome.warnings)


def test_a_team_that_was_archived_comes_back_without_its_keys(first):
    keys.archive_team(Team.objects.get())

    roll_back(first)

    assert Team.objects.get().archived_at is None
    assert [key.state for key in ApiKey.objects.all()] == ["archived"]


def test_a_disabled_key_is_not_opened(first):
    key = ApiKey.objects.get()
    keys.disable_key(key)

    outcome = roll_back(first)

    key.refresh_from_db()
    assert key.state == "disabled"
    assert "The key demo is disabled, and stays so." in " ".join(outcome.warnings)


def test_an_expired_key_is_not_opened(first):
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(days=1))

    roll_back(first)

    assert ApiKey.objects.get().state == "expired"


def test_a_key_that_was_issued_since_stays_and_opens_the_gateway(first):
    key = make_key(Team.objects.get(), "newcomer")
    change_models()

    outcome = roll_back(first)

    key.refresh_from_db()
    assert key.state == "usable"
    assert "newcomer" in " ".join(outcome.warnings)


def test_a_team_that_was_made_since_stays_while_it_has_keys(first):
    key = make_key()

    roll_back(first)

    assert Team.objects.get(pk=key.team_id).archived_at is None


def test_a_plan_that_was_made_since_stays_while_a_key_has_it(first):
    key = make_key(Team.objects.get(), "newcomer", managed_by="")
    keys.assign_plan(key, Plan.objects.create(name="since"))

    roll_back(first)

    assert Plan.objects.filter(name="since").exists()


def test_rows_of_a_manifest_stay_its_own(first):
    change_models()
    roll_back(first)

    assert ServedModel.objects.get().managed_by == "courier.yaml"


def test_a_purged_revision_cannot_be_restored(first):
    RecordedRevision.objects.update(deflated=None)

    with pytest.raises(rollback.Purged):
        rollback.plan(RecordedRevision.objects.get())


@pytest.fixture
def three(first):
    """The first of them is old, and the newest is, too."""
    for most in (5, 6):
        manifests.apply(manifests.WHOLE.replace("max_attempts: 2", f"max_attempts: {most}"))
    long_ago = timezone.now() - timedelta(days=31)
    RecordedRevision.objects.filter(number__in=(1, 3)).update(made_at=long_ago)


def kept():
    return list(RecordedRevision.objects.exclude(deflated=None).values_list("number", flat=True))


def test_what_is_old_is_purged_but_for_what_the_next_is_compared_with(three, settings):
    settings.COURIER_KEEP_REVISIONS_DAYS = 30
    recording.purge()

    assert kept() == [3, 2]
    assert RecordedRevision.objects.get(number=1).rows == {}
    assert RecordedRevision.objects.get(number=1).changes


def test_where_revisions_are_kept_for_ever_none_is_purged(three, settings):
    settings.COURIER_KEEP_REVISIONS_DAYS = 0
    recording.purge()

    assert kept() == [3, 2, 1]


def test_the_same_routes_make_the_same_text_in_whatever_order_they_were_made(first):
    Route.objects.update(priority=0)
    before = manifest.export()
    for route in Route.objects.order_by("pk")[:1]:
        Route.objects.filter(pk=route.pk).delete()
        route.pk = None
        route.save(force_insert=True)

    assert manifest.export() == before
