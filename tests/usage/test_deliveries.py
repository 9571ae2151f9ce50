"""Each delivery is tried until it arrives or is given up, by one worker at a time."""

import threading
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from tests.factories import make_webhook
from usage import deliveries, tasks
from usage.alerts import raise_alert
from usage.models import Alert, Delivery

pytestmark = pytest.mark.django_db


@pytest.fixture
def receiver(upstream):
    upstream.always(b"", status=204)
    return upstream


@pytest.fixture
def webhook(receiver):
    return make_webhook(receiver.url)


@pytest.fixture
def delivery(webhook):
    raise_alert(Alert.Kind.DRIFT, "drift:1", "The sums do not agree.", {"drift_nano": 5})
    return Delivery.objects.get()


@pytest.fixture
def clock():
    with time_machine.travel(timezone.now(), tick=False) as clock:
        yield clock


def deliver(delivery):
    deliveries.deliver(delivery.pk)
    delivery.refresh_from_db()


def deliver_when_due(delivery, clock):
    clock.move_to(max(timezone.now(), delivery.next_try_at))
    deliver(delivery)


def test_what_arrives_is_delivered(delivery, receiver):
    deliver(delivery)

    assert (delivery.state, delivery.trouble) == (Delivery.State.DONE, "")
    assert delivery.delivered_at is not None


def test_a_message_holds_the_alert(delivery, receiver):
    deliver(delivery)

    assert receiver.requests[0].json == {
        "type": "ledger.drift",
        "timestamp": receiver.requests[0]["timestamp"],
        "data": {
            "alert": "drift:1",
            "drift_nano": 5,
            "team": None,
            "text": "The sums do not agree.",
        },
    }


def test_every_kind_of_alert_has_a_name_for_webhooks():
    assert set(deliveries.TYPES) == set(Alert.Kind)


def test_what_was_delivered_is_not_sent_again(delivery, receiver):
    deliver(delivery)
    deliver(delivery)

    assert len(receiver.requests) == 1


def test_a_failure_is_told_and_tried_again_after_a_pause(delivery, receiver, clock):
    receiver.will_answer(b"", status=503)

    deliver(delivery)

    pause_s = (delivery.next_try_at - timezone.now()).total_seconds()
    assert (delivery.state, delivery.trouble) == (Delivery.State.WAITING, "It answered 503.")
    assert 10 <= pause_s <= 12


def test_nothing_is_sent_within_the_pause(delivery, receiver, clock):
    receiver.will_answer(b"", status=503)
    deliver(delivery)

    clock.shift(timedelta(seconds=9))
    deliver(delivery)

    assert len(receiver.requests) == 1


def test_pauses_grow(delivery, receiver, clock):
    receiver.always(b"", status=500)
    pauses = []
    for _ in deliveries.PAUSES_S:
        deliver_when_due(delivery, clock)
        pauses.append((delivery.next_try_at - timezone.now()).total_seconds())

    assert pauses == sorted(pauses)


@pytest.mark.parametrize("failures", [1, 6])
def test_a_receiver_that_fails_so_many_times_gets_it_in_the_end(
    delivery, receiver, clock, failures
):
    for _ in range(failures):
        receiver.will_answer(b"", status=500)
    for _ in range(failures + 1):
        deliver_when_due(delivery, clock)

    assert (delivery.state, delivery.tries) == (Delivery.State.DONE, failures + 1)


def test_all_tries_have_one_message_id(delivery, receiver, clock):
    for _ in range(3):
        receiver.will_answer(b"", status=500)
    for _ in range(4):
        deliver_when_due(delivery, clock)

    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_all_tries_have_one_body(delivery, receiver, clock):
    receiver.will_answer(b"", status=500)
    deliver_when_due(delivery, clock)
    deliver_when_due(delivery, clock)

    assert len({request.body for request in receiver.requests}) == 1


def test_after_the_last_pause_it_is_given_up(delivery, receiver, clock):
    receiver.always(b"", status=500)
    for _ in range(len(deliveries.PAUSES_S) + 1):
        deliver_when_due(delivery, clock)

    assert (delivery.state, delivery.trouble) == (Delivery.State.FAILED, "It answered 500.")


def test_what_was_given_up_can_be_sent_again(delivery, receiver):
    Delivery.objects.update(state=Delivery.State.FAILED, tries=7)

    assert deliveries.send_again(delivery)
    deliver(delivery)

    assert (delivery.state, delivery.tries) == (Delivery.State.DONE, 1)


def test_what_arrived_is_not_begun_anew(delivery):
    deliver(delivery)

    assert not deliveries.send_again(delivery)


def test_410_disables_the_webhook(delivery, receiver, webhook):
    receiver.will_answer(b"", status=410)

    deliver(delivery)

    webhook.refresh_from_db()
    assert not webhook.enabled
    assert delivery.state == Delivery.State.FAILED


def test_a_webhook_that_was_disabled_meanwhile_gets_nothing(delivery, receiver, webhook):
    webhook.enabled = False
    webhook.save()

    deliver(delivery)

    assert receiver.requests == []
    assert delivery.trouble == "The webhook is disabled."


def test_a_claim_outlives_the_worker_that_died_with_it(delivery, receiver, clock):
    deliveries._claimed(delivery.pk)

    deliver(delivery)
    assert receiver.requests == []

    clock.shift(deliveries.CLAIMED_FOR)
    deliver(delivery)
    assert delivery.state == Delivery.State.DONE


def test_a_worker_that_lost_its_claim_gives_nothing_up(delivery, receiver):
    slow = deliveries._claimed(delivery.pk)
    Delivery.objects.update(next_try_at=timezone.now())
    receiver.will_answer(b"", status=500)
    deliver(delivery)

    deliveries._give_up(slow, "It took too long to answer.")

    delivery.refresh_from_db()
    assert (delivery.state, delivery.trouble) == (Delivery.State.WAITING, "It answered 500.")


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_at_once_one_sends(delivery, receiver):
    barrier = threading.Barrier(2)

    def work():
        barrier.wait()
        tasks.deliver_alert(delivery.pk)
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert len(receiver.requests) == 1


def test_only_what_is_due_is_looked_for(delivery, clock):
    assert deliveries.due() == [delivery.pk]

    Delivery.objects.update(next_try_at=timezone.now() + timedelta(seconds=1))
    assert deliveries.due() == []


def test_no_secret_is_in_the_log_or_in_what_went_wrong(delivery, receiver, webhook, clock, caplog):
    caplog.set_level(0)
    receiver.always(webhook.secret.encode(), status=500)
    for _ in range(len(deliveries.PAUSES_S) + 1):
        deliver_when_due(delivery, clock)

    assert webhook.secret not in caplog.text + delivery.trouble
    assert receiver.url not in caplog.text + delivery.trouble
