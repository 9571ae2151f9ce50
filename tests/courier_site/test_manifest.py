"""What a manifest makes, changes and leaves alone."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts import keys
from accounts.models import ApiKey, Budget, RateLimit, Team
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

TEAM = "version: 1\nteams: [{name: research}]\n"
KEY = TEAM + "keys:\n  - name: demo\n    team: research\n"
GIVEN = KEY + f"    secret: {KEY_SECRET}\n"
PROVIDER = "version: 1\nproviders:\n  - name: local\n    kind: echo\n"
MODEL = PROVIDER + "models:\n  - name: tiny\n"
ROUTED = MODEL + "    routes: [{provider: local, upstream_model: a}]\n"


def revision():
    return Revision.objects.values_list("number", flat=True).first()


def test_a_provider_has_the_address_timeouts_and_manners_of_the_manifest():
    apply(WHOLE)

    provider = Provider.objects.get(name="local")

    assert (provider.kind, provider.base_url) == ("openai_compatible", "http://127.0.0.1:9001/v1")
    assert (provider.first_byte_timeout_s, provider.total_timeout_s) == (10.5, 300)
    assert provider.on_disconnect == "drain"


def test_an_upstream_key_is_sealed():
    apply(WHOLE)

    key = UpstreamKey.objects.get()

    assert (key.secret, key.weight) == (UPSTREAM_SECRET, 2)
    assert UPSTREAM_SECRET not in key.sealed_secret


def test_a_model_has_its_routes_in_order():
    apply(WHOLE)

    routes = Route.objects.values_list("provider__name", "upstream_model", "priority", "weight")

    assert list(routes) == [("local", "tiny", 0, 5), ("backup", "tiny", 1, 1)]


def test_prices_are_exact_and_dated():
    apply(WHOLE)

    first, second = Price.objects.filter(route=None).order_by("starts_at")

    assert (first.input, first.output) == (Decimal("0.15"), Decimal("0.60"))
    assert (first.cached_input, first.cache_write) == (Decimal("0.075"), None)
    assert first.starts_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert second.free
    assert second.starts_at == datetime(2026, 6, 1, 12, 30, tzinfo=UTC)


def test_a_price_of_a_route_has_every_figure():
    apply(WHOLE)

    row = Price.objects.get(route__provider__name="backup")

    figures = [f"{getattr(row, name).normalize():f}" for name in Price.FIGURES]
    assert figures == ["1", "0.1", "1.25", "2", "5", "6", "10", "20", "0.001", "0.04", "0.01"]


def test_a_price_that_has_begun_is_replaced_and_not_changed():
    apply(MODEL + "    prices: [{from: 2026-01-01, input: 1, output: 3}]\n")

    outcome = apply(MODEL + "    prices: [{from: 2026-01-01, input: 2, output: 3}]\n")

    old, new = Price.objects.order_by("pk")
    assert (old.input, new.input) == (1, 2)
    assert old.withdrawn_at
    assert outcome.changes == ["change price of tiny from 2026-01-01: input 1 → 2"]


def test_a_withdrawn_price_is_not_withdrawn_again():
    apply(MODEL + "    prices: [{from: 2026-01-01, input: 1, output: 3}]\n")
    apply(MODEL + "    prices: [{from: 2026-02-01, input: 1, output: 3}]\n")

    outcome = apply(MODEL + "    prices: [{from: 2026-02-01, input: 1, output: 3}]\n")

    assert outcome.changes == []


def test_a_price_written_as_a_number_is_exact_too():
    apply(MODEL + "    prices: [{from: 2026-01-01, input: 0.1, output: 3}]\n")

    assert Price.objects.get().input == Decimal("0.1")


def test_a_model_has_its_aliases():
    apply(WHOLE)

    aliases = ServedModel.objects.get().aliases.values_list("name", flat=True)

    assert list(aliases) == ["mini", "small"]


def test_limits_become_rows_of_team_and_key():
    apply(WHOLE)

    limits = RateLimit.objects.order_by("id").values_list("metric", "window_s", "amount")

    assert list(limits) == [
        ("requests", 60, 600),
        ("tokens", 60, 100_000),
        ("concurrency", 60, 50),
        ("requests", 1, 2),
        ("requests", 86_400, 60),
    ]


def test_budgets_are_kept():
    apply(WHOLE)

    budgets = Budget.objects.order_by("id").values_list("amount", "period", "hard")

    assert list(budgets) == [(Decimal(100), "month", False), (Decimal(5), "total", True)]


def test_a_key_opens_with_the_secret_that_was_brought_along():
    apply(WHOLE)

    key = ApiKey.objects.opened_by([keys.digest(KEY_SECRET)]).get()

    assert (key.name, key.team.name) == ("demo", "research")
    assert (key.allowed_models, key.allowed_endpoints) == (["gpt-*"], ["chat"])
    assert key.expires_at == datetime(2027, 1, 1, tzinfo=UTC)


def test_a_key_without_a_secret_is_issued_one():
    outcome = apply(KEY)

    (known,) = outcome.keys
    assert known.issued
    assert ApiKey.objects.get().digest == keys.digest(known.secret)


def test_an_empty_list_allows_nothing():
    apply(KEY + "    models: []\n    endpoints: []\n")

    key = ApiKey.objects.get()

    assert (key.allowed_models, key.allowed_endpoints) == ([], [])


def test_what_it_makes_is_marked_with_its_name():
    apply(WHOLE)

    for kind in (Provider, ServedModel, Team, ApiKey):
        assert set(kind.objects.values_list("managed_by", flat=True)) == {"courier.yaml"}


def test_applying_twice_changes_nothing():
    apply(WHOLE)
    before = revision()

    outcome = apply(WHOLE)

    assert outcome.changes == []
    assert revision() == before


def test_a_key_without_a_secret_is_issued_once_only():
    apply(KEY)

    outcome = apply(KEY)

    assert (outcome.changes, outcome.keys) == ([], [])


def test_a_changed_value_changes_its_row_only():
    apply(WHOLE)

    outcome = apply(WHOLE.replace("max_attempts: 2", "max_attempts: 4"))

    assert outcome.changes == ["change model gpt-4o-mini: max_attempts 2 → 4"]
    assert ServedModel.objects.get().max_attempts == 4


def test_a_changed_upstream_secret_is_told_of_and_not_shown():
    apply(WHOLE)

    outcome = apply(WHOLE.replace(UPSTREAM_SECRET, "sk-another"))

    assert outcome.changes == ["change upstream key local / first: secret changed"]
    assert UpstreamKey.objects.get().secret == "sk-another"
    assert "sk-another" not in outcome.diff


def test_a_changed_secret_of_a_key_holds_at_once():
    apply(GIVEN)

    apply(GIVEN.replace(KEY_SECRET, KEY_SECRET[::-1]))

    assert ApiKey.objects.get().digest == keys.digest(KEY_SECRET[::-1])


def test_a_changed_secret_of_a_key_is_not_shown():
    apply(GIVEN)

    outcome = apply(GIVEN.replace(KEY_SECRET, KEY_SECRET[::-1]))

    assert outcome.changes == ["change key demo: secret changed"]
    assert KEY_SECRET[::-1] not in outcome.diff


def test_an_upstream_secret_that_no_key_opens_is_replaced(settings):
    apply(WHOLE)
    settings.COURIER_ENCRYPTION_KEYS = ["another encryption key of the tests"]

    apply(WHOLE)

    assert UpstreamKey.objects.get().secret == UPSTREAM_SECRET


def test_a_revoked_key_stays_revoked():
    apply(GIVEN)
    keys.revoke_key(ApiKey.objects.get())

    outcome = apply(GIVEN)

    assert outcome.changes == []
    assert outcome.warnings == ["courier.yaml, line 4: The key demo was revoked, and stays so."]


def test_a_revoked_key_that_had_been_issued_is_not_issued_again():
    apply(KEY)
    keys.revoke_key(ApiKey.objects.get())

    apply(KEY)

    assert ApiKey.objects.usable().count() == 0


def test_a_revoked_key_makes_room_for_one_with_another_secret():
    apply(GIVEN)
    keys.revoke_key(ApiKey.objects.get())

    apply(GIVEN.replace(KEY_SECRET, KEY_SECRET[::-1]))

    assert ApiKey.objects.usable().get().digest == keys.digest(KEY_SECRET[::-1])


def test_a_secret_that_was_rotated_out_is_not_put_back():
    apply(GIVEN)
    fresh = keys.rotate_key(ApiKey.objects.get(), timedelta(hours=1))

    outcome = apply(GIVEN)

    assert ApiKey.objects.get().digest == keys.digest(fresh)
    assert "its former secret is not put back" in outcome.warnings[0]


def test_a_key_that_was_disabled_is_not_enabled_by_a_manifest_that_says_nothing_of_it():
    apply(GIVEN)
    keys.disable_key(ApiKey.objects.get())

    outcome = apply(GIVEN)

    assert outcome.changes == []
    assert ApiKey.objects.usable().count() == 0


def test_a_key_can_be_made_disabled():
    apply(GIVEN + "    enabled: false\n")

    assert ApiKey.objects.get().disabled_at


def test_a_disabled_key_that_stays_so_changes_nothing():
    apply(GIVEN + "    enabled: false\n")

    assert apply(GIVEN + "    enabled: false\n").changes == []


def test_a_key_is_enabled_by_a_manifest_that_says_so():
    apply(GIVEN + "    enabled: false\n")

    apply(GIVEN + "    enabled: true\n")

    assert ApiKey.objects.usable().exists()


@pytest.mark.parametrize("row", ["provider", "model", "route"])
def test_what_is_switched_off_is_kept_off_or_on_as_the_manifest_says(row):
    places = {
        "provider": ("kind: echo\n", "kind: echo\n    enabled: false\n", Provider),
        "model": ("name: tiny\n", "name: tiny\n    enabled: false\n", ServedModel),
        "route": ("upstream_model: a}", "upstream_model: a, enabled: false}", Route),
    }
    plain, off, kind = places[row]

    apply(ROUTED.replace(plain, off))

    assert not kind.objects.get().enabled


def test_a_list_that_is_given_is_made_exactly_so():
    apply(ROUTED)

    outcome = apply(ROUTED.replace("upstream_model: a", "upstream_model: b"))

    assert Route.objects.get().upstream_model == "b"
    assert "delete route tiny → local / a" in outcome.changes


def test_a_list_that_is_not_given_is_left_alone():
    apply(ROUTED)

    apply(MODEL)

    assert Route.objects.count() == 1


def test_a_value_that_is_not_given_is_left_alone():
    apply(WHOLE)

    apply(WHOLE.replace("    max_attempts: 2\n", ""))

    assert ServedModel.objects.get().max_attempts == 2


def test_a_limit_that_is_no_longer_listed_goes():
    apply(WHOLE)

    apply(WHOLE.replace("limits: {rps: 2, rpd: 60}", "limits: {rps: 2}"))

    assert not RateLimit.objects.filter(key__isnull=False, window_s=86_400).exists()


def test_an_alias_that_is_no_longer_listed_goes():
    apply(WHOLE)

    outcome = apply(WHOLE.replace("[mini, small]", "[mini]"))

    assert outcome.changes == ["delete alias small"]


def test_what_it_does_not_name_is_left_alone():
    factories.make_provider("of-the-admin")
    apply(WHOLE)

    apply(PROVIDER)

    assert set(Provider.objects.values_list("name", flat=True)) == {
        "of-the-admin",
        "local",
        "backup",
    }


def test_pruning_deletes_what_it_made_and_no_longer_names():
    factories.make_provider("of-the-admin")
    apply(WHOLE)

    apply(PROVIDER, prune=True)

    assert set(Provider.objects.values_list("name", flat=True)) == {"of-the-admin", "local"}
    assert not ServedModel.objects.exists()
    assert not Team.objects.exists()


def test_pruning_leaves_what_another_manifest_made():
    manifest.apply(manifest.Document("other.yaml", WHOLE, {}), mark="other.yaml")

    apply("version: 1\n", prune=True)

    assert Provider.objects.count() == 2


def test_pruning_empties_lists_that_are_no_longer_given():
    apply(ROUTED)

    apply(MODEL, prune=True)

    assert not Route.objects.exists()


def test_what_is_still_in_use_is_not_pruned():
    apply(PROVIDER)
    factories.make_model("theirs", Provider.objects.get())

    with pytest.raises(manifest.ManifestError, match="theirs"):
        apply("version: 1\n", prune=True)


def test_a_row_of_the_admin_that_it_names_becomes_what_it_says():
    factories.make_provider("local", kind="ollama")

    apply(PROVIDER)

    provider = Provider.objects.get()
    assert (provider.kind, provider.managed_by) == ("echo", "courier.yaml")


def test_a_row_of_the_admin_that_is_so_already_stays_of_the_admin():
    factories.make_provider("local", kind="echo", base_url="")

    outcome = apply(PROVIDER)

    assert outcome.changes == []
    assert Provider.objects.get().managed_by == ""


def test_a_plan_says_what_would_be_done_and_does_nothing():
    outcome = plan(WHOLE)

    assert "add provider local" in outcome.changes
    assert "+  base_url: http://127.0.0.1:9001/v1" in outcome.diff
    assert not Provider.objects.exists()


def test_a_plan_shows_no_secret():
    outcome = plan(WHOLE)

    assert UPSTREAM_SECRET not in outcome.diff + str(outcome.changes)
    assert KEY_SECRET not in outcome.diff + str(outcome.changes)


def test_an_outcome_does_not_show_secrets_in_a_traceback():
    assert KEY_SECRET not in repr(apply(WHOLE))


def test_a_mistake_anywhere_changes_nothing():
    broken = WHOLE.replace("team: research", "team: reserch")

    with pytest.raises(manifest.ManifestError):
        apply(broken)

    assert not Provider.objects.exists()
    assert revision() is None


def test_a_secret_comes_from_the_environment():
    apply(WHOLE.replace(UPSTREAM_SECRET, "${LOCAL_KEY}"), {"LOCAL_KEY": "sk-from-outside"})

    assert UpstreamKey.objects.get().secret == "sk-from-outside"


def test_a_secret_comes_from_a_file_beside_the_manifest(tmp_path):
    (tmp_path / "key").write_text("sk-from-a-file\n")
    text = PROVIDER + "    keys: [{name: first, secret_file: key}]\n"

    manifest.apply(manifest.Document("courier.yaml", text, {}, folder=tmp_path), mark="")

    assert UpstreamKey.objects.get().secret == "sk-from-a-file"


def test_a_reference_with_two_dollar_signs_is_meant_literally():
    apply(MODEL + '    description: "costs $${PRICE}"\n')

    assert ServedModel.objects.get().description == "costs ${PRICE}"


def test_a_wildcard_may_be_a_models_name():
    apply(MODEL.replace("name: tiny", 'name: "vendor/*"'))

    assert ServedModel.objects.get().name == "vendor/*"


WITH_KEY = (
    "    keys: [{name: a, secret: sk-x, models: [tiny-*], limits: {rpm: 60, tpm: 1000, "
    "concurrency: 4}, budget: {amount: 12.5, period: day}}]\n"
)


def test_an_upstream_key_has_what_the_manifest_gives_it():
    outcome = apply(PROVIDER + WITH_KEY)

    key = UpstreamKey.objects.get()
    assert (key.requests_per_minute, key.tokens_per_minute, key.concurrency) == (60, 1000, 4)
    assert (key.budget, key.budget_period) == (Decimal("12.5"), "day")
    assert key.allowed_models == ["tiny-*"]
    assert outcome.warnings == []
    assert apply(PROVIDER + WITH_KEY).changes == []


def test_an_upstream_key_has_nothing_that_the_manifest_does_not_give():
    apply(PROVIDER + WITH_KEY)
    apply(PROVIDER + "    keys: [{name: a, secret: sk-x}]\n")

    key = UpstreamKey.objects.get()
    assert (key.requests_per_minute, key.budget, key.allowed_models) == (None, None, [])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("limits: {rpm: 0}", "limits"),
        ("limits: {rpd: 5}", "rpd"),
        ("budget: {amount: -1}", "budget"),
        ("budget: {amount: 5, period: year}", "year"),
        ('models: ["with space"]', "models"),
    ],
)
def test_what_an_upstream_key_cannot_have_is_said_with_its_line(given, complaint):
    with pytest.raises(manifest.ManifestError) as error:
        apply(PROVIDER + f"    keys: [{{name: a, secret: sk-x, {given}}}]\n")

    assert "line 5" in str(error.value)
    assert complaint in str(error.value)


def test_a_new_secret_of_a_manifest_puts_a_key_back():
    apply(PROVIDER + "    keys: [{name: a, secret: sk-x}]\n")
    UpstreamKey.objects.update(out_since=timezone.now(), out_reason="key_refused")

    apply(PROVIDER + "    keys: [{name: a, secret: sk-y}]\n")

    assert UpstreamKey.objects.get().out_since is None


def test_a_policy_is_made_of_what_it_asks_and_does():
    apply(WHOLE)

    policy = RoutingPolicy.objects.get()

    assert (policy.name, policy.position, policy.managed_by) == ("night shift", 10, "courier.yaml")
    assert policy.conditions["hours"] == "22:00-06:00"
    assert policy.actions == {"prefer": ["backup/*"], "max_cost": "0.05"}


def test_a_policy_that_asks_for_what_nobody_knows_is_refused():
    text = WHOLE.replace("needs: [tools]", "needs: [legs]")

    with pytest.raises(manifest.ManifestError, match=r"needs: These are some of: tools"):
        apply(text)


FALLBACKS = """
version: 1
models:
  - {name: small, fallbacks: {context: [large], content: [open, large]}}
  - {name: large}
  - {name: open}
"""


def test_models_name_others_that_come_later():
    apply(FALLBACKS)

    small = ServedModel.objects.get(name="small")
    assert (small.context_fallbacks, small.content_fallbacks) == (["large"], ["open", "large"])


def test_a_model_that_is_not_there_is_complained_of():
    with pytest.raises(manifest.ManifestError, match='There is no model named "larger"'):
        apply(FALLBACKS.replace("context: [large]", "context: [larger]"))


def test_fallbacks_that_a_manifest_no_longer_names_stay():
    apply(FALLBACKS)

    apply("version: 1\nmodels:\n  - {name: small}\n")

    assert ServedModel.objects.get(name="small").context_fallbacks == ["large"]
