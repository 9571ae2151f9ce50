"""Webhooks and alerts in the admin: secrets once, tests in words, and who may do what."""

import re

import pytest
from django.contrib.auth.models import Permission

from tests.factories import make_admin, make_team, make_user, make_webhook
from usage.admin.alerts import KIND_LEVELS
from usage.alerts import raise_alert
from usage.models import Alert, Delivery, Webhook

pytestmark = pytest.mark.django_db

WEBHOOKS = "/admin/usage/webhook/"
ALERTS = "/admin/usage/alert/"


@pytest.fixture
def admin(client):
    client.force_login(make_admin())
    return client


@pytest.fixture
def receiver(upstream):
    upstream.always(b"", status=204)
    return upstream


@pytest.fixture
def given_up(admin):
    make_webhook(name="pager")
    raise_alert(Alert.Kind.DRIFT, "drift:1", "The sums do not agree.", {"drift_nano": 5})
    Delivery.objects.update(state=Delivery.State.FAILED, trouble="It answered 500.", tries=7)
    return Delivery.objects.get()


def signed_in(client, *permissions):
    """The client of somebody who has these permissions, and no others."""
    user = make_user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def text_of(response):
    return response.content.decode()


def add(admin, **changed):
    fields = {"name": "pager", "url": "https://hooks.example.com/courier", "enabled": "on"}
    return admin.post(WEBHOOKS + "add/", fields | changed)


def said(response):
    return [str(message) for message in response.context["messages"]]


def send_test(admin, webhook):
    return admin.post(f"{WEBHOOKS}{webhook.pk}/test/", follow=True)


def rotate(admin, webhook, grace="24h"):
    page = f"{WEBHOOKS}{webhook.pk}/rotate/"
    seen = admin.post(page).context["seen"]
    return admin.post(page, {"seen": seen, "grace": grace})


def test_a_new_webhook_shows_its_secret(admin):
    page = text_of(add(admin))

    assert Webhook.objects.get().secret in page


def test_the_answer_with_the_secret_is_kept_by_no_cache(admin):
    assert "no-store" in add(admin)["Cache-Control"]


def test_no_other_page_shows_the_secret(admin):
    add(admin)
    webhook = Webhook.objects.get()

    for page in (WEBHOOKS, f"{WEBHOOKS}{webhook.pk}/change/", f"{WEBHOOKS}{webhook.pk}/history/"):
        assert webhook.secret not in text_of(admin.get(page))
        assert webhook.sealed_secret not in text_of(admin.get(page))


@pytest.mark.parametrize(
    "url", ["http://hooks.example.com", "https://user:pass@hooks.example.com", "https://10.0.0.7"]
)
def test_a_url_that_messages_must_not_go_to_is_refused(admin, settings, url):
    settings.COURIER_WEBHOOKS_OVER_HTTP = False
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = []

    assert "url" in add(admin, url=url).context["adminform"].form.errors
    assert not Webhook.objects.exists()


def test_the_list_does_not_show_what_a_url_may_hide(admin):
    make_webhook("https://hooks.example.com/secret-path?token=hidden")

    page = text_of(admin.get(WEBHOOKS))

    assert "hooks.example.com" in page
    assert "secret-path" not in page


def test_a_test_that_arrives_is_said_to(admin, receiver):
    assert said(send_test(admin, make_webhook(receiver.url))) == ["The test arrived."]
    assert receiver.requests[0].json["type"] == "test"


def test_a_test_that_does_not_arrive_says_why(admin, receiver):
    receiver.will_answer(b"canary-answer", status=401)

    answer = send_test(admin, make_webhook(receiver.url))

    assert said(answer) == ["The test did not arrive. It answered 401."]
    assert "canary-answer" not in text_of(answer)


def test_a_test_is_not_sent_by_a_link(admin, receiver):
    webhook = make_webhook(receiver.url)

    assert admin.get(f"{WEBHOOKS}{webhook.pk}/test/").status_code == 405
    assert receiver.requests == []


def test_a_rotation_shows_the_new_secret(admin):
    webhook = make_webhook()
    former = webhook.secret

    page = text_of(rotate(admin, webhook))

    webhook.refresh_from_db()
    assert webhook.secret != former
    assert webhook.secret in page
    assert former not in page


def test_a_rotation_that_is_loaded_again_does_not_rotate_again(admin):
    webhook = make_webhook()
    page = f"{WEBHOOKS}{webhook.pk}/rotate/"
    seen = admin.post(page).context["seen"]
    admin.post(page, {"seen": seen, "grace": "24h"})
    webhook.refresh_from_db()
    secret = webhook.secret

    admin.post(page, {"seen": seen, "grace": "24h"})

    webhook.refresh_from_db()
    assert webhook.secret == secret


@pytest.mark.parametrize("what", ["test", "rotate"])
def test_who_may_only_look_at_webhooks_may_neither_test_nor_rotate(client, receiver, what):
    webhook = make_webhook(receiver.url)
    reader = signed_in(client, "view_webhook")

    assert reader.post(f"{WEBHOOKS}{webhook.pk}/{what}/").status_code == 403


def test_who_may_only_look_at_webhooks_is_offered_no_button(client):
    reader = signed_in(client, "view_webhook")

    page = text_of(reader.get(f"{WEBHOOKS}{make_webhook().pk}/change/"))

    assert "Send a test" not in page
    assert "Rotate the secret" not in page


def test_a_test_of_no_webhook_is_not_found(admin):
    assert admin.post(WEBHOOKS + "999/test/").status_code == 404


def test_the_list_of_alerts_says_what_became_of_each(admin, given_up):
    page = text_of(admin.get(ALERTS))

    assert "The sums do not agree." in page
    assert "0 of 1, 1 given up" in page


def test_an_alert_shows_its_deliveries_and_why_they_failed(admin, given_up):
    page = text_of(admin.get(f"{ALERTS}{given_up.alert_id}/change/"))

    for text in ("webhook pager", "Given up", "It answered 500.", "drift_nano"):
        assert text in page


def test_alerts_are_found_by_what_became_of_their_deliveries(admin, given_up):
    raise_alert(Alert.Kind.QUARANTINE, "quarantine:1", "A record was set aside.")

    page = text_of(admin.get(ALERTS + "?delivery=failed"))

    assert "The sums do not agree." in page
    assert "A record was set aside." not in page


def test_what_was_given_up_is_sent_again_from_its_page(admin, given_up):
    admin.post(f"{ALERTS}{given_up.alert_id}/send-again/")

    given_up.refresh_from_db()
    assert given_up.state == Delivery.State.WAITING


def test_what_was_given_up_is_sent_again_from_the_list(admin, given_up):
    admin.post(ALERTS, {"action": "send_again", "_selected_action": [given_up.alert_id]})

    given_up.refresh_from_db()
    assert given_up.state == Delivery.State.WAITING


def test_who_may_only_look_at_alerts_may_not_send_them_again(client, given_up):
    reader = signed_in(client, "view_alert")

    assert reader.post(f"{ALERTS}{given_up.alert_id}/send-again/").status_code == 403
    assert "Send again" not in text_of(reader.get(f"{ALERTS}{given_up.alert_id}/change/"))
    reader.post(ALERTS, {"action": "send_again", "_selected_action": [given_up.alert_id]})
    given_up.refresh_from_db()
    assert given_up.state == Delivery.State.FAILED


def test_nobody_changes_an_alert(admin, given_up):
    answer = admin.post(f"{ALERTS}{given_up.alert_id}/change/", {"text": "All is well."})

    assert answer.status_code == 403
    assert Alert.objects.get().text == "The sums do not agree."


def test_without_a_mail_server_the_list_says_so(admin, settings):
    assert "No mail is sent" in text_of(admin.get(ALERTS))

    settings.EMAIL_URL = "smtp://mail.example.com"
    assert "No mail is sent" not in text_of(admin.get(ALERTS))


def test_the_front_page_tells_of_what_was_given_up(admin, given_up):
    page = text_of(admin.get("/admin/"))

    assert re.search(r"1 delivery of alerts given up\.", page)
    assert ALERTS + "?delivery=failed" in page


def test_the_front_page_tells_only_those_who_may_see_alerts(client, given_up):
    assert "given up" not in text_of(signed_in(client, "view_usagerecord").get("/admin/"))


def test_the_list_of_alerts_asks_as_many_questions_for_many(admin, django_assert_max_num_queries):
    for number in range(5):
        team = make_team()
        raise_alert(Alert.Kind.DRIFT, f"drift:{number}", "The sums do not agree.", team=team)

    with django_assert_max_num_queries(10):
        admin.get(ALERTS)


def test_an_alert_of_every_kind_has_its_place_in_the_list():
    assert set(KIND_LEVELS) == set(Alert.Kind)
