"""S-11 in the admin: no search, filter, order, date or form is part of a statement."""

import pytest
from django.contrib import admin
from django.urls import reverse

from tests.courier_site.rows import one_of_each
from tests.factories import make_admin
from tests.faults.figures import figure
from tests.injections import PAYLOADS, injected, statements
from tests.soak import trials

__all__ = ["statements"]

pytestmark = pytest.mark.django_db

#: What Django's lists read beside their filters.
READ = ("q", "o", "p", "all", "_popup", "_to_field", "_facets", "page", "next")
STATEMENT = "admin:usage_reportdefinition_statement"
LOOKUPS = ("", "__exact", "__in", "__gte", "__contains", "__isnull", "__regex")
SOME = PAYLOADS[:: trials(7, 1)]


def names_of(its_admin):
    """What a list may be asked by: its filters and columns, and fields that are neither."""
    for listed in its_admin.list_filter:
        of_class = getattr(listed, "parameter_name", None)
        name = listed[0] if isinstance(listed, tuple) else of_class or listed
        if isinstance(name, str):
            yield from (name + lookup for lookup in LOOKUPS[:: trials(4, 1)])
    if its_admin.date_hierarchy:
        yield from (f"{its_admin.date_hierarchy}__{part}" for part in ("year", "month", "day"))


def lists():
    """The addresses of some lists, or of all, with what each is asked by."""
    for model, its_admin in list(admin.site._registry.items())[:: trials(6, 1)]:
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        yield url, [*READ, *names_of(its_admin), "id", "pk__in", "password__contains"]


@pytest.mark.parametrize("payload", SOME)
def test_s11_no_list_puts_what_it_is_asked_into_a_statement(browser, statements, payload):
    one_of_each(make_admin("other"))
    statements.clear()

    asked = [(url, {name: payload}) for url, names in lists() for name in names]
    asked += [(url, {f"{payload}__exact": "1", payload: payload}) for url, _ in lists()]
    failed = [(url, query) for url, query in asked if browser.get(url, query).status_code >= 500]

    figure("S-11", f"{len(asked)} questions to lists of the admin", "no statement changed")
    assert (injected(statements), failed) == ([], [])


@pytest.mark.parametrize("payload", SOME)
def test_s11_no_page_beside_the_lists_puts_it_into_a_statement(
    browser, client, statements, payload
):
    asked = {"app_label": "accounts", "model_name": payload, "field_name": payload, "term": payload}
    statements.clear()

    answers = [
        browser.get(reverse("admin:autocomplete"), asked),
        browser.get(reverse("admin:autocomplete"), asked | {"model_name": "apikey"}),
        browser.get(reverse("admin:index"), {"q": payload}),
        browser.get(reverse(STATEMENT), {"team": payload, "month": payload}),
        browser.post(reverse("admin:login"), {"username": payload, "password": payload}),
        browser.get(f"/admin/accounts/apikey/{payload}/change/"),
        browser.get(f"/admin/{payload}/{payload}/"),
    ]  # fmt: skip

    assert injected(statements) == []
    assert {answer.status_code for answer in answers} <= {200, 301, 302, 400, 403, 404}
