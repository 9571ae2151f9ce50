"""Providers in the admin: their form, and upstream keys that are written but never read."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone

from registry import conditions
from registry.health import HealthUnknown, ProviderHealth
from registry.models import Certification, Intervention, Provider, UpstreamKey
from tests.courier_site import forms
from tests.factories import make_model, make_provider, make_upstream_key, make_user

pytestmark = pytest.mark.django_db

ADD = "/admin/registry/provider/add/"
LIST = "/admin/registry/provider/"
SECRET = "sk-entered-in-the-form"


def page(provider):
    return reverse("admin:registry_provider_change", args=(provider.pk,))


def key_row(key, **changed):
    fields = {"id": key.pk, "name": key.name, "weight": "1", "enabled": "on", "new_secret": ""}
    return fields | changed


class TestUpstreamKeys:
    def test_a_new_key_is_stored_sealed(self, browser):
        new = {"name": "first", "weight": "1", "enabled": "on", "new_secret": SECRET}

        answer = browser.post(ADD, forms.provider(new))

        assert answer.status_code == 302
        key = UpstreamKey.objects.get()
        assert key.secret == SECRET
        assert SECRET not in key.sealed_secret

    def test_a_new_key_needs_its_secret(self, browser):
        new = {"name": "first", "weight": "1", "enabled": "on", "new_secret": ""}

        answer = browser.post(ADD, forms.provider(new))

        sentence = "Enter the key as the provider gave it to you."
        assert forms.complaints(answer)["keys.new_secret"] == sentence

    def test_an_empty_field_keeps_the_stored_secret(self, browser):
        key = make_upstream_key(make_provider("openai"), SECRET)
        changed_at = key.changed_at

        browser.post(page(key.provider), forms.provider(key_row(key, weight="7"), initial=1))

        key.refresh_from_db()
        assert (key.secret, key.weight) == (SECRET, 7)
        assert key.changed_at == changed_at

    def test_a_new_secret_replaces_the_stored_one(self, browser):
        key = make_upstream_key(make_provider("openai"), "sk-before")
        changed_at = key.changed_at

        rows = key_row(key, new_secret=SECRET)
        browser.post(page(key.provider), forms.provider(rows, initial=1))

        key.refresh_from_db()
        assert key.secret == SECRET
        assert key.changed_at > changed_at

    def test_a_stored_secret_is_announced_but_not_shown(self, browser):
        key = make_upstream_key(make_provider(), SECRET)

        shown = browser.get(page(key.provider)).text

        assert "stored; leave empty to keep" in shown
        assert SECRET not in shown
        assert key.sealed_secret not in shown

    def test_a_secret_is_not_sent_back_with_a_form_that_is_wrong(self, browser):
        new = {"name": "first", "weight": "x", "enabled": "on", "new_secret": SECRET}

        answer = browser.post(ADD, forms.provider(new))

        assert answer.status_code == 200
        assert SECRET not in answer.text

    def test_a_secret_is_in_no_message_and_no_history(self, browser):
        new = {"name": "first", "weight": "1", "enabled": "on", "new_secret": SECRET}

        answer = browser.post(ADD, forms.provider(new))

        sealed = UpstreamKey.objects.get().sealed_secret
        said = [str(message) for message in get_messages(answer.wsgi_request)]
        said += [entry.change_message for entry in LogEntry.objects.all()]
        assert said
        assert not [each for each in said if SECRET in each or sealed in each]

    def test_the_history_tells_that_a_secret_was_changed(self, browser):
        key = make_upstream_key(make_provider("openai"), "sk-before")

        rows = key_row(key, new_secret=SECRET)
        browser.post(page(key.provider), forms.provider(rows, initial=1))

        assert "Secret" in LogEntry.objects.latest("pk").get_change_message()

    @pytest.mark.parametrize(
        "secret", ["sk with space", "sk-\x00", "sk-ключ", "sk-\nx", "a" * 5000]
    )
    def test_a_secret_that_no_header_can_carry_is_refused(self, browser, secret):
        new = {"name": "first", "weight": "1", "enabled": "on", "new_secret": secret}

        assert "keys.new_secret" in forms.complaints(browser.post(ADD, forms.provider(new)))

    def test_two_keys_of_one_name_are_refused(self, browser):
        new = {"name": "same", "weight": "1", "enabled": "on", "new_secret": SECRET}

        answer = browser.post(ADD, forms.provider(new, new))

        sentence = "Two keys of one provider must not have the same name."
        assert forms.complaints(answer)["keys.name"] == sentence

    def test_a_form_that_is_sent_twice_is_complained_of_the_second_time(self, browser):
        provider = make_provider("openai")
        new = {"name": "first", "weight": "1", "enabled": "on", "new_secret": SECRET}
        browser.post(page(provider), forms.provider(new))

        answer = browser.post(page(provider), forms.provider(new))

        assert "keys.name" in forms.complaints(answer)
        assert provider.keys.count() == 1

    def test_a_key_that_cannot_be_opened_says_so(self, browser, settings):
        key = make_upstream_key(make_provider())
        settings.COURIER_ENCRYPTION_KEYS = ["another"]

        assert "Enter it again" in browser.get(page(key.provider)).text

    def test_a_key_that_cannot_be_opened_can_be_entered_again(self, browser, settings):
        key = make_upstream_key(make_provider("openai"))
        settings.COURIER_ENCRYPTION_KEYS = ["another"]

        rows = key_row(key, new_secret=SECRET)
        browser.post(page(key.provider), forms.provider(rows, initial=1))

        key.refresh_from_db()
        assert key.secret == SECRET


class TestBadInput:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", ""),
            ("name", "with space"),
            ("name", "a" * 65),
            ("name", "nul\x00"),
            ("name", "schlüssel"),
            ("kind", "unheard-of"),
            ("kind", ""),
            ("base_url", "not a url"),
            ("base_url", "ftp://llm.example.com"),
            ("base_url", "http://user:password@llm.example.com"),
            ("base_url", "http://169.254.169.254/latest"),
            ("base_url", "http://2130706433/"),
            ("base_url", "http://[::1"),
            ("base_url", "https://llm.example.com/\x00"),
            ("base_url", "https://" + "a" * 600),
            ("base_url", "https://llm.example.com:99999/"),
            ("connect_timeout_s", "0"),
            ("connect_timeout_s", "-1"),
            ("connect_timeout_s", "nan"),
            ("connect_timeout_s", "inf"),
            ("connect_timeout_s", "1e999"),
            ("connect_timeout_s", "soon"),
            ("total_timeout_s", "9" * 400),
            ("on_disconnect", "shrug"),
        ],
    )
    def test_is_answered_at_its_field(self, browser, settings, field, value):
        settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = []

        answer = browser.post(ADD, forms.provider(**{field: value}))

        assert field in forms.complaints(answer)
        assert not Provider.objects.exists()

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", ""),
            ("name", "a" * 65),
            ("name", "nul\x00"),
            ("weight", "-1"),
            ("weight", "1001"),
            ("weight", "9" * 40),
            ("weight", "1.5"),
        ],
    )
    def test_in_a_key_is_answered_at_its_field(self, browser, field, value):
        new = {"name": "first", "weight": "1", "enabled": "on", "new_secret": SECRET}

        answer = browser.post(ADD, forms.provider(new | {field: value}))

        assert f"keys.{field}" in forms.complaints(answer)

    def test_a_name_that_is_taken_is_refused(self, browser):
        make_provider("openai")

        assert "name" in forms.complaints(browser.post(ADD, forms.provider()))

    def test_a_kind_without_an_address_of_its_own_needs_one(self, browser):
        answer = browser.post(ADD, forms.provider(base_url=""))

        sentence = "A provider of this kind needs the address of its server."
        assert forms.complaints(answer)["base_url"] == sentence

    def test_a_kind_with_an_address_of_its_own_needs_none(self, browser):
        answer = browser.post(ADD, forms.provider(kind="openai", base_url=""))

        assert answer.status_code == 302

    def test_production_offers_no_provider_that_fails_on_demand(self, browser, settings):
        settings.PRODUCTION = True

        answer = browser.post(ADD, forms.provider(kind="chaos", base_url=""))

        assert "kind" in forms.complaints(answer)

    def test_a_provider_in_use_is_not_deleted(self, browser):
        provider = make_provider()
        make_model("m", provider)

        delete = reverse("admin:registry_provider_delete", args=(provider.pk,))
        answer = browser.post(delete, {"post": "yes"}, follow=True)

        assert answer.status_code == 200
        assert "would require deleting the following protected" in answer.text
        assert Provider.objects.filter(pk=provider.pk).exists()

    def test_a_provider_is_deleted_with_its_keys_and_all_that_was_done_with_it(self, browser):
        provider = make_provider()
        make_upstream_key(provider)
        Certification.objects.create(provider=provider, upstream_model="m", asked_by="root")
        until = timezone.now() + timedelta(hours=1)
        Intervention.objects.create(provider=provider, until=until, begun_by="root")

        delete = reverse("admin:registry_provider_delete", args=(provider.pk,))
        browser.post(delete, {"post": "yes"})

        assert not Provider.objects.filter(pk=provider.pk).exists()

    def test_upstream_keys_are_deleted_only_by_those_who_may(self, client):
        provider = make_provider()
        make_upstream_key(provider)
        staff = make_user(is_staff=True)
        staff.user_permissions.add(Permission.objects.get(codename="delete_provider"))
        client.force_login(staff)

        delete = reverse("admin:registry_provider_delete", args=(provider.pk,))
        client.post(delete, {"post": "yes"})

        assert Provider.objects.filter(pk=provider.pk).exists()


def test_a_region_that_is_missing_is_complained_of_once(browser):
    answer = browser.post(ADD, forms.provider(kind="bedrock", base_url=""))

    assert forms.complaints(answer) == {
        "option_region": "This is needed. As the vendor names it, such as us-east-1."
    }


def test_a_name_that_will_not_do_is_told_in_plain_words(browser):
    answer = browser.post(ADD, forms.provider(name="two words"))

    sentence = "Use letters, digits, hyphens and underscores only."
    assert forms.complaints(answer) == {"name": sentence}


class TestList:
    def test_shows_the_address_that_is_really_called(self, browser):
        make_provider("openai", kind="openai", base_url="")

        assert "https://api.openai.com/v1" in browser.get(LIST).text

    def test_shows_a_breaker_that_is_open(self, browser, monkeypatch):
        provider = make_provider("openai")
        make_model("m", provider)
        now = provider.created_at
        is_open = {"openai": ProviderHealth("open", now, "upstream_timeout", 1)}
        monkeypatch.setattr(conditions.health, "states", lambda: is_open)

        shown = browser.get(LIST).text

        assert "breaker open" in shown
        assert "it did not answer in time" in shown

    def test_shows_that_breakers_are_not_known_while_redis_is_away(self, browser, monkeypatch):
        make_model("m", make_provider())

        def away():
            raise HealthUnknown

        monkeypatch.setattr(conditions.health, "states", away)

        assert "cannot be read right now" in browser.get(LIST).text
