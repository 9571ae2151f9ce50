"""Statements: exact, with corrections told apart, and the same for one moment ever after."""

from datetime import UTC, datetime
from io import StringIO

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command

from accounts.models import Team
from tests import factories
from tests.usage.ledger import NOON, correct, log, sum_up
from usage import as_of, statements
from usage.models import PurgeReceipt

pytestmark = pytest.mark.django_db(transaction=True)

OCTOBER = statements.month_of("2026-10")
PAGE = "/admin/usage/reportdefinition/statement/"


@pytest.fixture
def research():
    return factories.make_team("research")


def log_for(team, at=NOON, **fields):
    return log(at, team_id=team.pk, team_name=team.name, **fields)


def statement(team, moment=None):
    return statements.statement(team, OCTOBER, moment or as_of.settle())


def printed(*arguments):
    out = StringIO()
    call_command("statement", *arguments, stdout=out)
    return out.getvalue()


def test_charges_are_told_by_model_and_key(research):
    log_for(research, cost_nano=1)
    log_for(research, cost_nano=2, model_served="large")
    log_for(research, cost_nano=4, key_id=2, key_name="batch")
    log_for(factories.make_team("sales"), cost_nano=8)
    sum_up()

    told = statement(research)

    assert [(c.model, c.key, c.sums["cost_nano"]) for c in told.charges] == [
        ("large", "notebook", 2), ("small", "batch", 4), ("small", "notebook", 1),
    ]  # fmt: skip
    assert told.totals["cost_nano"] == told.charged_nano == 7


def test_corrections_are_told_apart_with_their_reasons(research):
    record = log_for(research, cost_nano=100, output_tokens=50)
    correct(record, cost_nano=-30, output_tokens=-5, reason="manual", note="Goodwill.")
    correct(log_for(research, cost_nano=100), cost_nano=-1)
    sum_up()

    told = statement(research)

    assert [(c.reason, c.note, c.requests, c.sums["cost_nano"]) for c in told.corrections] == [
        ("Entered by a person", "Goodwill.", 1, -30), ("Priced anew", "", 1, -1),
    ]  # fmt: skip
    assert told.charges[0].sums["output_tokens"] == 50
    assert (told.charged_nano, told.corrected_nano, told.totals["cost_nano"]) == (200, -31, 169)


def test_keys_of_one_name_are_not_mixed_up(research):
    log_for(research, cost_nano=10)
    correct(log_for(research, cost_nano=20, key_id=2), cost_nano=-5)
    sum_up()

    assert [charge.sums["cost_nano"] for charge in statement(research).charges] == [10, 20]


def test_the_month_is_that_of_the_teams_time_zone(research):
    Team.objects.update(time_zone="Asia/Tokyo")
    log_for(research, datetime(2026, 9, 30, 16, tzinfo=UTC), cost_nano=1)
    log_for(research, datetime(2026, 10, 31, 16, tzinfo=UTC), cost_nano=2)
    sum_up()
    research.refresh_from_db()

    assert statement(research).totals["cost_nano"] == 1


def test_what_is_estimated_is_told_as_a_share(research):
    log_for(research, cost_nano=1, usage_source="estimated")
    log_for(research, cost_nano=3)
    sum_up()

    assert statement(research).estimated_share == 0.25


def test_a_statement_of_a_moment_is_the_same_after_corrections(research):
    record = log_for(research)
    sum_up()
    moment = as_of.settle()
    before = printed("research", "2026-10", "--as-of", moment.at.isoformat())

    correct(record, cost_nano=-9)
    log_for(research, key_name="late")
    sum_up()

    assert printed("research", "2026-10", "--as-of", moment.at.isoformat()) == before
    assert printed("research", "2026-10") != before


def test_after_retention_corrections_stay_in_the_lines(research):
    correct(log_for(research, cost_nano=10), cost_nano=-3)
    sum_up()
    PurgeReceipt.objects.create(
        kind="adjustments", first_day="2026-10-01", last_day="2026-10-31", rows=1
    )

    told = statement(research)

    assert (told.charged_nano, told.corrections, told.is_itemized) == (7, [], False)


@pytest.mark.parametrize("month", ["2026-13", "October", "26-10", "2026-1"])
def test_a_month_has_one_form(month):
    with pytest.raises(statements.NoSuchMonth, match="is no month"):
        statements.month_of(month)


def test_the_command_says_what_is_wrong(research):
    log_for(research)
    sum_up()

    with pytest.raises(CommandError, match="no team 'nobody'"):
        printed("nobody", "2026-10")
    with pytest.raises(CommandError, match="is no month"):
        printed("research", "2026")


def test_the_page_tells_every_digit_and_runs_no_script(client, research):
    log_for(research, cost_nano=1_234_567_890_123, key_name="<b>")
    sum_up()
    client.force_login(factories.make_admin())

    response = client.get(PAGE, {"team": research.pk, "month": "2026-10"}, follow=True)

    page = response.content.decode()
    assert "$1,234.567890123" in page
    assert "&lt;b&gt;" in page
    assert "<script" not in page
    assert "as_of=" in response.redirect_chain[0][0]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"month": "2026-10"}, "This field is required"),
        ({"team": "1", "month": "2026"}, "is no month"),
        ({"team": "1", "month": "2026-10", "as_of": "2040-01-01T00:00:00+00:00"}, "or an earlier"),
        ({"team": "1", "month": "2026-10", "as_of": "x"}, "Invalid isoformat"),
        ({}, "Show"),
    ],
)
def test_a_mistake_leads_to_the_form(client, query, words):
    team = factories.make_team("research")
    log()
    sum_up()
    client.force_login(factories.make_admin())
    if "team" in query:
        query = query | {"team": team.pk}

    assert words in client.get(PAGE, query).content.decode()


@pytest.mark.parametrize("name", ["statement", "spending"])
def test_the_pages_are_for_those_who_may_see_reports(client, name):
    user = factories.make_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_export"))
    client.force_login(user)

    assert client.get(f"/admin/usage/reportdefinition/{name}/").status_code == 403
