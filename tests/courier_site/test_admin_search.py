"""What is looked for in the admin, and what that may cost."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from courier_site.middleware import LONGEST_SEARCH

LISTS = (
    "accounts/apikey",
    "accounts/team",
    "accounts/user",
    "registry/provider",
    "registry/servedmodel",
)
LOG = "/admin/usage/usagerecord/"

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", ["q", "s", "term"])
def test_s44_a_search_has_a_length(browser, name):
    words = ("x " * LONGEST_SEARCH)[:LONGEST_SEARCH]

    assert browser.get("/admin/accounts/team/", {name: words}).status_code != 400
    assert browser.get("/admin/accounts/team/", {name: words + "x"}).status_code == 400


@pytest.mark.parametrize("lookup", ["regex", "iregex"])
def test_s44_no_list_is_filtered_by_an_expression(browser, lookup):
    asked = {f"enabled__{lookup}": "(a+)+$"}

    assert browser.get("/admin/registry/provider/", asked).status_code == 400


@pytest.mark.parametrize("term", ["%_" * 100, "%", "_", "\\%" * 60, "'" * 200, "%25" * 60])
def test_s44_wildcards_are_looked_for_as_they_are(browser, team, term):
    for each in LISTS:
        assert browser.get(f"/admin/{each}/", {"q": term}).status_code == 200
    page = browser.get("/admin/accounts/team/", {"q": term})
    assert page.context["cl"].result_count == 0


def test_s44_the_log_is_never_searched_for_a_part(browser):
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert browser.get(LOG, {"q": "%_%_%"}).status_code == 200

    about_log = [each["sql"] for each in asked if "usage_usagerecord" in each["sql"]]
    assert about_log
    assert not [sql for sql in about_log if " LIKE " in sql.upper() or "COUNT(" in sql.upper()]
