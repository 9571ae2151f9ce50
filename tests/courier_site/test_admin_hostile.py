"""Forged requests to every address of the admin, and rows that are named to run as a script."""

import json
import re

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import models
from django.test import Client
from django.urls import get_resolver, reverse
from django.utils import timezone

from accounts.models import ApiKey
from tests.courier_site.rows import make_attempt, make_record, make_refusal, one_of_each
from tests.factories import make_admin, make_user
from tests.usage.ledger import sum_up
from usage.models import Decision, Delivery, UsageAdjustment, UsageAttempt, UsageRecord

pytestmark = pytest.mark.django_db

HOSTILE = "\"'><img src=x onerror=alert(1)></script><script>alert(2)</script>"
OF_ROWS = re.compile(r"admin/(accounts|registry|usage)/(\w+)/")
#: What the forms behind the buttons ask for, all of it good.
SENT = {
    "confirmed": "yes",
    "grace": "0",
    "amount": "1",
    "until_0": "2099-01-01",
    "until_1": "00:00",
    "reason": "why not",
    "format": "csv",
    "post": "yes",
}


@pytest.fixture
def rows():
    found, _ = one_of_each(make_admin())
    return found


@pytest.fixture
def onlooker():
    user = make_user("onlooker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return user


def addresses(rows):
    """Every address below a model's list, with the number of a row where it takes one."""
    for pattern in _patterns(get_resolver("courier_site.urls").url_patterns):
        below = OF_ROWS.match(pattern)
        if below:
            row = rows[f"{below[1]}.{below[2]}"]
            yield "/" + re.sub(r"<[^>]+>", str(row.pk), pattern)


def _patterns(patterns, before=""):
    for pattern in patterns:
        route = f"{before}{pattern.pattern}"
        if hasattr(pattern, "url_patterns"):
            yield from _patterns(pattern.url_patterns, route)
        elif not route.endswith("/<path:object_id>/"):  # Django's redirect to the page of a row
            yield route


def actions(rows):
    """Every action of every list, as it is sent for one row."""
    for model, its_admin in admin.site._registry.items():
        row = rows.get(model._meta.label_lower)
        url = reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_changelist")
        for name in ["delete_selected", *(its_admin.actions or ())] if row else ():
            yield url, SENT | {"action": name, "_selected_action": str(row.pk)}


def everything():
    """All rows of the parts that the admin changes."""
    labels = ("accounts", "registry", "usage", "auth", "admin")
    models_of = [model for label in labels for model in apps.get_app_config(label).get_models()]
    return {model._meta.label: sorted(map(str, model.objects.values_list())) for model in models_of}


def changed_by(send, requests):
    """Those of these requests that changed any row."""
    before, guilty = everything(), []
    for request in requests:
        send(*request)
        after = everything()
        if after != before:
            guilty.append(request)
        before = after
    return guilty


def test_nothing_that_is_sent_by_those_who_may_only_look_changes_a_row(client, rows, onlooker):
    client.force_login(onlooker)
    forged = [*((url, SENT) for url in addresses(rows)), *actions(rows)]

    assert changed_by(client.post, forged) == []


def test_opening_a_page_changes_no_row(client, rows):
    client.force_login(make_admin("boss"))

    assert changed_by(client.get, [(url,) for url in addresses(rows)]) == []


def test_staff_without_a_permission_is_refused_everywhere(client, rows):
    client.force_login(make_user("staff", is_staff=True))
    every = list(addresses(rows))

    answered = {url for url in every if client.get(url).status_code not in {403, 405}}
    obeyed = {url for url in every if client.post(url, SENT).status_code != 403}

    assert answered | obeyed == set()


def test_whoever_has_not_signed_in_is_sent_to_do_so_everywhere(client, rows):
    answers = {url: client.post(url, SENT) for url in addresses(rows)}

    assert all("/login/" in answer.get("Location", "") for answer in answers.values())


def test_nothing_is_taken_without_the_form_s_token(rows):
    forger = Client(enforce_csrf_checks=True)
    forger.force_login(make_admin("boss"))

    taken = {url for url in addresses(rows) if forger.post(url, SENT).status_code != 403}

    assert taken == set()


def spoil(rows):
    """Name every row, and what is told with it, in a way that runs where it is not escaped."""
    for row in rows.values():
        if not isinstance(row, UsageRecord | Decision):  # the ledger is only added to
            _update(row, **_spoiled(row))
    key = ApiKey.objects.select_related("team").get()
    record = make_record(key, **_spoiled(rows["usage.usagerecord"]))
    make_attempt(record, **_spoiled(UsageAttempt()))
    shares = ("request_id", "started_at", "key_id", "team_id")
    same = {name: getattr(record, name) for name in shares}
    UsageAdjustment.objects.create(**_spoiled(UsageAdjustment()) | same | {"reason": "manual"})
    alert = rows["usage.alert"]
    Delivery.objects.create(alert=alert, email=HOSTILE, trouble=HOSTILE)
    _update(alert, data={HOSTILE: HOSTILE})
    _update(rows["usage.export"], filters={HOSTILE: HOSTILE})
    by = {"first_dimension": "model", "second_dimension": "provider"}
    _update(rows["usage.reportdefinition"], period="this_month", filters={"model": [HOSTILE]}, **by)
    _update(rows["usage.reraterun"], state="ready")
    rows["usage.usagerecord"] = record
    told = json.dumps({"v": 1, "error": {"code": HOSTILE, "status": 404, "message": HOSTILE}})
    rows["usage.decision"] = make_refusal(key, **_spoiled(rows["usage.decision"]) | {"told": told})


def _spoiled(row):
    return {field.name: HOSTILE[: field.max_length] for field in _free_texts(row)}


def _update(row, **fields):
    type(row).objects.filter(pk=row.pk).update(**fields)


def _free_texts(row):
    """Those that people, clients or providers fill in, rather than a choice or a form's check."""
    checked = {"time_zone", "currency", "file"}
    for field in row._meta.concrete_fields:
        text = isinstance(field, models.CharField | models.TextField)
        if text and not (field.choices or field.primary_key or field.name in checked):
            yield field


@pytest.mark.django_db(transaction=True)
def test_no_page_runs_what_a_row_is_named(client, rows):
    client.force_login(make_admin("boss"))
    spoil(rows)
    sum_up()

    team, month = rows["accounts.team"], f"{timezone.now():%Y-%m}"
    statement = f"{reverse('admin:usage_reportdefinition_statement')}?team={team.pk}&month={month}"
    pages = [*addresses(rows), reverse("admin:index"), statement]
    answers = {url: client.get(url, follow=True) for url in pages}

    told = {url: answer.text for url, answer in answers.items() if not answer.streaming}
    assert {url for url, text in told.items() if "<img src=x" in text} == set()
    assert told[statement].count("&lt;img src=x") > 4  # they are shown at all
