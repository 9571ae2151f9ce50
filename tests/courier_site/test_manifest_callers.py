"""Plans, teams and keys of a manifest: how much they may use, by which clock and at what price."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from accounts.keys import archive_team
from accounts.models import ApiKey, Budget, Plan, RateLimit, Team
from courier_site import manifest
from tests import factories
from tests.courier_site.manifests import apply, complaints, plan
from tests.courier_site.rows import make_record

pytestmark = pytest.mark.django_db

PLANS = """\
version: 1
plans:
  - name: standard
    description: For most
    limits:
      rpm: 600
      itpm: 100000
      otph: 5000
      concurrency: 10
      models:
        "*-large": {rpm: 5, tpd: 9000}
        gpt-4o: {concurrency: 2}
    budgets:
      - {amount: "20.00", period: day, window: rolling}
      - {amount: "100.00", period: month, hard: false, thresholds: [90, 50],
         counts_from: 2026-03-01}
teams:
  - name: research
    time_zone: Asia/Seoul
    markup_percent: "12.5"
    limits: {rpm: 6000}
keys:
  - name: demo
    team: research
    plan: standard
"""


def limits_of(scope):
    return {(row.metric, row.window_s, row.model): row.amount for row in scope.ratelimits.all()}


def test_a_plan_has_its_limits_also_for_some_models():
    apply(PLANS)

    assert limits_of(Plan.objects.get()) == {
        ("requests", 60, ""): 600,
        ("input_tokens", 60, ""): 100_000,
        ("output_tokens", 3600, ""): 5000,
        ("concurrency", 60, ""): 10,
        ("requests", 60, "*-large"): 5,
        ("tokens", 86400, "*-large"): 9000,
        ("concurrency", 60, "gpt-4o"): 2,
    }


def test_a_plan_has_its_budgets():
    apply(PLANS)

    rolling, monthly = Budget.objects.order_by("amount")
    assert (rolling.period, rolling.window, rolling.thresholds) == ("day", "rolling", [50, 80, 100])
    assert (monthly.window, monthly.hard, monthly.thresholds) == ("calendar", False, [50, 90])
    assert monthly.counts_from == datetime(2026, 3, 1, tzinfo=UTC)


def test_a_team_has_its_clock_and_its_markup():
    apply(PLANS)

    team = Team.objects.get()
    assert (team.time_zone, team.markup_percent) == ("Asia/Seoul", Decimal("12.5"))


def test_a_key_has_its_plan():
    apply(PLANS)

    assert ApiKey.objects.get().plan.name == "standard"


def test_applying_plans_twice_changes_nothing():
    apply(PLANS)

    outcome = apply(PLANS)

    assert (outcome.changes, outcome.diff) == ([], "")


def test_an_export_of_plans_makes_the_same_bytes_elsewhere():
    apply(PLANS)
    text = manifest.export()
    for kind in (ApiKey, Team, Plan):
        kind.objects.all().delete()

    apply(
        text.replace("    secret: ${RESEARCH_DEMO}\n    if_unset: keep\n", "").replace(
            "  secret: ${RESEARCH_DEMO}\n  if_unset: keep\n", ""
        )
    )

    assert manifest.export() == text


def test_applying_an_export_of_plans_changes_nothing():
    apply(PLANS)

    assert apply(manifest.export()).changes == []


def test_a_plan_s_changes_are_told_in_words():
    apply(PLANS)

    outcome = plan(PLANS.replace("rpm: 5,", "rpm: 6,").replace("100.00", "120"))

    assert outcome.changes == [
        "change limit rpm for *-large of plan standard: amount 5 → 6",
        "change budget per month of plan standard: amount 100 → 120",
    ]
    assert "+      rpm: 6" in outcome.diff.replace("        ", "      ")


def test_limits_that_a_manifest_no_longer_gives_are_deleted():
    apply(PLANS)

    apply(PLANS.replace("        gpt-4o: {concurrency: 2}\n", ""))

    assert not RateLimit.objects.filter(model="gpt-4o").exists()
    assert RateLimit.objects.filter(model="*-large").exists()


def test_without_a_plan_a_key_keeps_the_one_it_was_given():
    apply(PLANS)

    apply(PLANS.replace("    plan: standard\n", ""))

    assert ApiKey.objects.get().plan.name == "standard"


def test_pruning_takes_the_plan_away_that_a_manifest_no_longer_gives():
    apply(PLANS)

    apply(PLANS.replace("    plan: standard\n", ""), prune=True)

    assert ApiKey.objects.get().plan is None


def test_a_plan_in_use_is_not_pruned():
    apply(PLANS)
    other = factories.make_key()
    ApiKey.objects.filter(pk=other.pk).update(plan=Plan.objects.get())

    with pytest.raises(manifest.ManifestError, match="cannot be deleted"):
        apply("version: 1\n", prune=True)


def test_a_key_and_a_team_with_usage_are_archived_instead_of_pruned():
    apply(PLANS)
    make_record(ApiKey.objects.get())

    outcome = apply("version: 1\n", prune=True)

    assert ApiKey.objects.get().state == "archived"
    assert Team.objects.get().archived_at
    assert [change.split(" ")[0] for change in outcome.changes] == ["archive", "archive", "delete"]


def test_what_is_archived_is_not_pruned_again():
    apply(PLANS)
    make_record(ApiKey.objects.get())
    apply("version: 1\n", prune=True)

    assert apply("version: 1\n", prune=True).changes == []


def test_a_team_with_usage_and_keys_of_others_is_not_pruned():
    apply(PLANS)
    make_record(ApiKey.objects.get())
    factories.make_key(Team.objects.get())

    with pytest.raises(manifest.ManifestError, match="it has keys of others"):
        apply("version: 1\n", prune=True)
    assert Team.objects.get().archived_at is None


def test_a_team_that_was_archived_stays_so():
    apply(PLANS)
    archive_team(Team.objects.get())

    outcome = apply(PLANS)

    assert outcome.warnings[0].endswith("line 18: The team research was archived, and stays so.")
    assert Team.objects.get().archived_at


def test_no_new_key_is_issued_for_an_archived_team():
    apply(PLANS)
    archive_team(Team.objects.get())

    assert complaints(PLANS.replace("name: demo", "name: another")) == [
        "line 24: The team research is archived. Restore it first."
    ]


def test_a_limit_for_an_alias_is_a_mistake():
    factories.make_model("gpt-4o-mini", aliases=["gpt-4o"])

    assert complaints(PLANS) == [
        "line 12: model: “gpt-4o” is another name of gpt-4o-mini: name that one."
    ]


def test_what_is_archived_is_not_exported():
    apply(PLANS)
    archive_team(Team.objects.get())

    assert "research" not in manifest.export()


@pytest.mark.parametrize(
    ("given", "wrong", "expected"),
    [
        ("itpm:", "itpx:", 'line 7: Unknown key "itpx" in limits; did you mean "itps"?'),
        ("tpd: 9000", "tpx: 9000", 'line 11: Unknown key "tpx" in *-large; did you mean "tps"?'),
        ('"*-large"', '"a b"', "line 11: model: Enter the name of a model, such as gpt-4o"),
        ("window: rolling", "window: sliding", 'line 14: window cannot be "sliding". Possible:'),
        ("[90, 50]", "[half]", "line 15: thresholds must be a list of whole numbers."),
        ("[90, 50]", "[0]", "line 15: thresholds: Enter whole percentages from 1 to 1000"),
        ('"20.00"', '"9000001"', "line 14: amount: Ensure this value is less than or equal"),
        ("day,", "total,", "line 14: window: A budget that is given once has no rolling window."),
        ("Asia/Seoul", "Asia/Soul", "line 19: time_zone: Enter a time zone by its name"),
        ('"12.5"', '"-101"', "line 20: markup_percent: Ensure this value is greater than"),
        ("plan: standard", "plan: gold", 'line 25: There is no plan named "gold".'),
    ],
)
def test_mistakes_are_told_with_their_line(given, wrong, expected):
    [complaint] = complaints(PLANS.replace(given, wrong))

    assert complaint.startswith(expected)
