"""A key's secret is shown where it is made, and nowhere else."""

import pytest
from django.contrib import admin
from django.urls import reverse

from accounts.models import ApiKey
from tests.courier_site.rows import one_of_each
from tests.factories import make_key, make_user

pytestmark = pytest.mark.django_db


def pages():
    """The list and the first row's pages of everything that has to do with people."""
    for model in admin.site._registry:
        if model._meta.app_label != "accounts":
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{name}_changelist")
        row = model._default_manager.first()
        if row is not None:
            yield from (reverse(f"{name}_{page}", args=[row.pk]) for page in ("change", "history"))


def test_s08_no_page_shows_the_secret_of_a_key_again(browser):
    one_of_each(make_user())
    key = make_key(name="crawled")
    random_part = key.secret[19:62]
    key_page = reverse("admin:accounts_apikey_change", args=[key.pk])

    for url in [*pages(), key_page, "/admin/", "/admin/search/?s=crawled"]:
        content = browser.get(url).content.decode(errors="replace")
        assert key.secret not in content, url
        assert random_part not in content, url
        assert key.digest not in content, url


def test_s07_the_database_holds_no_secret():
    key = make_key()

    (row,) = ApiKey.objects.filter(pk=key.pk).values()

    assert key.secret[19:62] not in str(row)
    assert len({make_key().secret[19:62] for _ in range(50)}) == 50
