"""Alerts as mail."""

import pytest
from django.core import mail

from tests.factories import make_admin
from usage import deliveries
from usage.alerts import raise_alert
from usage.models import Alert, Delivery

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _with_mail(settings):
    settings.EMAIL_URL = "smtp://mail.example.com"
    make_admin()


def delivered(text="The sums do not agree."):
    raise_alert(Alert.Kind.DRIFT, "drift:1", text)
    delivery = Delivery.objects.get()
    deliveries.deliver(delivery.pk)
    delivery.refresh_from_db()
    return delivery


def test_a_mail_says_what_the_alert_says():
    delivered()

    [sent] = mail.outbox
    assert sent.subject == "[Courier] The sums do not agree."
    assert sent.body.startswith("The sums do not agree.\n")
    assert sent.to == ["root@example.com"]


def test_a_mail_links_to_the_alert_where_the_address_of_the_admin_is_known(settings):
    settings.COURIER_PUBLIC_URL = "https://courier.example.com"

    alert = delivered().alert

    assert (
        f"https://courier.example.com/admin/usage/alert/{alert.pk}/change/" in mail.outbox[0].body
    )


def test_a_mail_has_the_same_message_id_in_every_try():
    delivery = delivered()

    assert mail.outbox[0].extra_headers["Message-ID"] == f"<{delivery.message_id.hex}@localhost>"


def test_a_name_with_a_line_break_adds_no_header():
    delivered("Team x\nBcc: all@example.com\n spent much.")

    assert mail.outbox[0].message()["Bcc"] is None
    assert mail.outbox[0].subject == "[Courier] Team x Bcc: all@example.com spent much."


def test_a_mail_server_that_is_away_is_tried_again(settings):
    settings.EMAIL_BACKEND = "tests.usage.mail_servers.Away"

    delivery = delivered()

    assert delivery.state == Delivery.State.WAITING
    assert delivery.trouble == "The mail server refused or was away (SMTPServerDisconnected)."


def test_what_a_mail_server_says_is_not_kept(settings):
    settings.EMAIL_BACKEND = "tests.usage.mail_servers.Away"

    assert "canary" not in delivered().trouble
