"""Forms that are sent twice: the second time is complained of, and stores nothing."""

import pytest
from django.urls import reverse

from tests.accounts.test_admin import a_budget
from tests.courier_site import forms
from tests.factories import make_team, make_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("prefix", "row"),
    [
        ("memberships", lambda: {"user": make_user().pk, "role": "member"}),
        ("ratelimits", lambda: {"metric": "requests", "amount": "5", "window_s": "60"}),
        ("budgets", lambda: a_budget()),
    ],
)
def test_a_team_s_form(browser, prefix, row):
    team = make_team()
    page = reverse("admin:accounts_team_change", args=(team.pk,))
    sent = {"name": team.name, "time_zone": "UTC", "markup_percent": "0"}
    for each in ("memberships", "ratelimits", "budgets"):
        sent |= forms.inline(each, *([row()] if each == prefix else []))

    first = browser.post(page, sent)
    second = browser.post(page, sent)

    assert first.status_code == 302
    assert forms.complaints(second)
    assert getattr(team, prefix).count() == 1
