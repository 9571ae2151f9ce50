"""What receivers of webhooks get, over a real socket, and what is never sent."""

import datetime
import socket
from datetime import UTC, timedelta

import pytest
from standardwebhooks import Webhook as Receiver
from standardwebhooks import WebhookVerificationError

from lib.ids import uuid7
from registry import network
from tests.factories import make_webhook
from tests.fakes.upstream import CUT, STALL
from tests.gateway.servers import self_signed_server
from tests.services import free_port
from usage import webhooks
from usage.errors import Undelivered, Unwanted

pytestmark = pytest.mark.django_db

MOMENT = datetime.datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
BODY = webhooks.message("budget.threshold", MOMENT, {"percent": 80})


@pytest.fixture
def receiver(upstream):
    upstream.always(b"", status=204)
    return upstream


def send(webhook, message_id=None):
    webhooks.send(webhook, message_id or uuid7(), BODY)


def verified(webhook, request):
    """What a receiver reads, once it has checked the signature."""
    return Receiver(webhook.secret).verify(request.body, request.headers)


def test_a_receiver_can_verify_what_it_gets(receiver):
    webhook = make_webhook(receiver.url)

    send(webhook)

    assert verified(webhook, receiver.requests[0]) == {
        "type": "budget.threshold",
        "timestamp": "2026-11-25T14:30:00Z",
        "data": {"percent": 80},
    }


def test_another_secret_does_not_verify_it(receiver):
    send(make_webhook(receiver.url))

    with pytest.raises(WebhookVerificationError):
        verified(make_webhook(), receiver.requests[0])


def test_a_changed_body_does_not_verify(receiver):
    webhook = make_webhook(receiver.url)
    send(webhook)
    [request] = receiver.requests

    with pytest.raises(WebhookVerificationError):
        Receiver(webhook.secret).verify(request.body.replace(b"80", b"81"), request.headers)


def test_it_is_posted_as_json(receiver):
    send(make_webhook(receiver.url))

    [request] = receiver.requests
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")


def test_the_query_of_the_url_is_sent_along(receiver):
    send(make_webhook(receiver.url + "/hook?room=7"))

    assert receiver.requests[0].path == "/v1/hook?room=7"


def test_two_tries_of_one_message_have_the_same_id(receiver):
    webhook, message_id = make_webhook(receiver.url), uuid7()

    send(webhook, message_id)
    send(webhook, message_id)

    one, other = (request.headers["webhook-id"] for request in receiver.requests)
    assert one == other


def test_after_a_rotation_the_former_secret_still_verifies_within_its_grace(receiver):
    webhook = make_webhook(receiver.url)
    former = webhook.secret

    webhooks.rotate(webhook, timedelta(hours=1))
    send(webhook)

    [request] = receiver.requests
    assert Receiver(former).verify(request.body, request.headers)
    assert verified(webhook, request)


def test_after_the_grace_the_former_secret_verifies_nothing(receiver):
    webhook = make_webhook(receiver.url)
    former = webhook.secret

    webhooks.rotate(webhook, timedelta(0))
    send(webhook)

    [request] = receiver.requests
    with pytest.raises(WebhookVerificationError):
        Receiver(former).verify(request.body, request.headers)


def test_a_rotation_gives_a_secret_that_was_not_there_before():
    webhook = make_webhook()
    former = webhook.secret

    secret = webhooks.rotate(webhook, timedelta(0))

    webhook.refresh_from_db()
    assert webhook.secret == secret != former


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64", "bm8gcHJlZml4IGJ1dCBsb25nIGVub3VnaA=="],
)
def test_nothing_is_signed_with_a_secret_that_is_missing_or_weak(secret):
    with pytest.raises(webhooks.UnusableSecret):
        webhooks.signature(secret, "msg_1", 1, b"{}")


@pytest.mark.parametrize("secret", ["", "whsec_"])
def test_nothing_is_sent_without_a_secret(receiver, secret):
    webhook = make_webhook(receiver.url)
    webhook.seal(secret)

    with pytest.raises(Undelivered, match="secret"):
        send(webhook)
    assert receiver.requests == []


def test_nothing_is_sent_with_a_secret_that_does_not_open(receiver, settings):
    webhook = make_webhook(receiver.url)
    settings.COURIER_ENCRYPTION_KEYS = ["another"]

    with pytest.raises(Undelivered, match="secret"):
        send(webhook)
    assert receiver.requests == []


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_success_is_one(receiver, status):
    receiver.will_answer(b"", status=status)

    send(make_webhook(receiver.url))


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_any_other_answer_is_told_by_its_status(receiver, status):
    receiver.will_answer(b"canary-answer", status=status)

    with pytest.raises(Undelivered, match=f"^It answered {status}.$"):
        send(make_webhook(receiver.url))


def test_a_redirect_is_not_followed(receiver):
    receiver.will_answer(b"", status=302, headers={"location": receiver.url + "/elsewhere"})

    with pytest.raises(Undelivered, match="Redirects are not followed"):
        send(make_webhook(receiver.url))
    assert len(receiver.requests) == 1


def test_410_says_that_no_more_is_wanted(receiver):
    receiver.will_answer(b"", status=410)

    with pytest.raises(Unwanted):
        send(make_webhook(receiver.url))


def test_an_answer_without_an_end_is_not_waited_for(receiver):
    receiver.will_answer(b"{", STALL)

    send(make_webhook(receiver.url))


def test_a_receiver_that_hangs_is_given_up(receiver, monkeypatch):
    monkeypatch.setattr(webhooks, "ANSWER_WITHIN_S", 0.2)
    receiver.will_not_answer(STALL)

    with pytest.raises(Undelivered, match="too long"):
        send(make_webhook(receiver.url))


def test_a_connection_that_is_cut_is_told():
    with pytest.raises(Undelivered, match="could not be reached"):
        send(make_webhook(f"http://127.0.0.1:{free_port()}"))


def test_what_is_not_http_is_told(receiver):
    receiver.will_send_raw(b"220 mail.example ESMTP\r\n", CUT)

    with pytest.raises(Undelivered, match="proper HTTP"):
        send(make_webhook(receiver.url))


def test_a_certificate_that_nobody_vouched_for_is_refused():
    with self_signed_server() as url, pytest.raises(Undelivered, match="TLS"):
        send(make_webhook(url))


def test_a_private_address_is_refused_unless_allowed(receiver, settings):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = []

    with pytest.raises(Undelivered, match="private"):
        send(make_webhook(receiver.url))
    assert receiver.requests == []


def test_a_name_that_means_a_private_address_is_refused(receiver, settings, monkeypatch):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = []
    monkeypatch.setattr(network, "_look_up", lambda *_: [(socket.AF_INET, "127.0.0.1")])

    with pytest.raises(Undelivered, match="not allowed"):
        send(make_webhook(f"http://hooks.example.com:{receiver.port}"))
    assert receiver.requests == []


def test_plain_http_is_refused_unless_allowed(receiver, settings):
    settings.COURIER_WEBHOOKS_OVER_HTTP = False

    with pytest.raises(Undelivered, match="https://"):
        send(make_webhook(receiver.url))
    assert receiver.requests == []


def test_a_proxy_of_the_environment_is_not_used(receiver, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")

    send(make_webhook(receiver.url))

    assert len(receiver.requests) == 1
