"""S-15: no address that Courier may not call is taken by a form, a manifest or a button."""

import pytest
import yaml
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient
from django.urls import reverse

from courier_site import manifest
from gateway import failover, upstream
from registry.models import Provider
from tests.courier_site import forms
from tests.courier_site.manifests import apply
from tests.factories import make_admin, make_provider, make_upstream_key
from tests.fakes.canary import Canary
from tests.registry.hostile_urls import QUERIES, hostile_urls, names_of_this_machine
from tests.soak import trials

ADD = reverse("admin:registry_provider_add")
#: An empty address means the kind's own, which this kind has not.
ENTERED = [url for url in hostile_urls() + QUERIES if url.strip() == url][:: trials(10, 1)]


@pytest.fixture(autouse=True)
def _nothing_private(settings):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = []


def refused(answer):
    return answer.status_code == 200 and "base_url" in forms.complaints(answer)


@pytest.mark.django_db
def test_s15_no_provider_is_made_at_an_address_of_the_corpus(browser):
    key = {"name": "first", "weight": "1", "enabled": "on", "new_secret": "sk-entered"}

    taken = [url for url in ENTERED if not refused(browser.post(ADD, form_at(url, key)))]

    assert (taken, Provider.objects.count()) == ([], 0)


def form_at(url, *keys):
    return forms.provider(*keys, base_url=url)


@pytest.mark.django_db
def test_s15_no_provider_is_moved_to_an_address_of_the_corpus(browser):
    provider = make_provider("openai", base_url="https://llm.example.com/v1")
    page = reverse("admin:registry_provider_change", args=(provider.pk,))

    taken = [url for url in ENTERED if not refused(browser.post(page, form_at(url)))]

    provider.refresh_from_db()
    assert (taken, provider.base_url) == ([], "https://llm.example.com/v1")


@pytest.mark.django_db
def test_s15_no_manifest_takes_an_address_of_the_corpus():
    taken = [url for url in ENTERED if not complained_of(url)]

    assert (taken, Provider.objects.count()) == ([], 0)


def complained_of(url):
    told = {"name": "local", "kind": "openai_compatible", "base_url": url}
    try:
        apply(yaml.safe_dump({"version": 1, "providers": [told]}))
    except manifest.ManifestError:
        return True
    return False


@pytest.mark.django_db(transaction=True)
async def test_s15_the_test_button_calls_no_address_of_the_corpus(monkeypatch):
    monkeypatch.setattr(failover, "FIRST_BACKOFF_S", 0)
    browser = AsyncClient()
    await browser.aforce_login(await sync_to_async(make_admin)())
    with Canary() as canary:
        # PostgreSQL itself keeps no NUL.
        kept = (url for url in hostile_urls(canary.port) if "\0" not in url)
        urls = [url for url in kept if url.strip() == url]
        urls = urls[:: trials(12, 1)] + names_of_this_machine(canary.port)
        pages = [await sync_to_async(button_of)(number, url) for number, url in enumerate(urls)]

        shown = [await browser.post(page, {"upstream_model": "tiny"}) for page in pages]

        told = {url: answer.text for url, answer in zip(urls, shown, strict=True)}
        assert {url for url, text in told.items() if "upstream_unreachable" not in text} == set()
        assert canary.heard == []
    await upstream.close()
    await sync_to_async(connections.close_all)()


def button_of(number, url):
    """The button of a provider whose address has got past every form."""
    provider = make_provider(f"hostile-{number}")
    make_upstream_key(provider)
    Provider.objects.filter(pk=provider.pk).update(base_url=url)
    return reverse("gateway-probe-provider", args=(provider.pk,))
