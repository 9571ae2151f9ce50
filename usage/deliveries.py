"""From alerts to inboxes and webhooks: each try claimed, repeated with pauses, then given up.

A worker that dies between sending and writing so down sends again: at least once, with the
same message id each time.
"""

from __future__ import annotations

import logging
import random
from datetime import timedelta
from uuid import UUID

from django.db.models import F, QuerySet
from django.utils import timezone

from usage import emails, webhooks
from usage.errors import Undelivered, Unwanted
from usage.models import Alert, Delivery, Webhook

logger = logging.getLogger(__name__)

#: Seconds before the second try, the third, and so on. Then it is given up.
PAUSES_S = (10, 60, 5 * 60, 30 * 60, 2 * 3600, 8 * 3600)
#: Of a pause, so much more at most, so that what failed together does not return together.
JITTER = 0.2
#: Longer than any try takes. By then the worker that has it is gone.
CLAIMED_FOR = timedelta(minutes=5)
#: As many as are queued at one tick.
AT_ONCE = 500

#: What webhooks call the kinds of alerts.
TYPES: dict[str, str] = {
    Alert.Kind.THRESHOLD: "budget.threshold",
    Alert.Kind.RUN_OUT: "budget.run_out",
    Alert.Kind.KEY_OUT: "upstream_key.out",
    Alert.Kind.KEY_BUDGET: "upstream_key.budget",
    Alert.Kind.SLOPE: "spending.unusual",
    Alert.Kind.DRIFT: "ledger.drift",
    Alert.Kind.QUARANTINE: "ledger.quarantine",
    Alert.Kind.STRAY: "ledger.stray",
    Alert.Kind.UNPRICED: "model.unpriced",
}


def due() -> list[int]:
    """The deliveries whose time has come, the longest waiting first."""
    waiting = Delivery.objects.filter(state=Delivery.State.WAITING, next_try_at__lte=timezone.now())
    return list(waiting.order_by("next_try_at").values_list("pk", flat=True)[:AT_ONCE])


def deliver(pk: int) -> None:
    """Try once, unless it is done, not yet due, or in the hands of another worker."""
    delivery = _claimed(pk)
    if delivery is None:
        return
    try:
        _send(delivery)
    except Unwanted as refusal:
        Webhook.objects.filter(deliveries=delivery).update(enabled=False)
        _give_up(delivery, str(refusal))
    except Undelivered as failure:
        _try_later(delivery, str(failure))
    else:
        # Whoever has the claim by now: it has arrived.
        _waiting(delivery).update(
            state=Delivery.State.DONE, delivered_at=timezone.now(), trouble=""
        )


def send_again(delivery: Delivery) -> bool:
    """Begin anew with one that was given up. Returns whether it was."""
    given_up = Delivery.objects.filter(pk=delivery.pk, state=Delivery.State.FAILED)
    return bool(given_up.update(state=Delivery.State.WAITING, tries=0, next_try_at=timezone.now()))


def send_test(webhook: Webhook, message_id: UUID) -> None:
    """One message that tells of nothing, now. Raises Undelivered."""
    data = {"text": "This is a test. Nothing happened.", "webhook": webhook.name}
    webhooks.send(webhook, message_id, webhooks.message("test", timezone.now(), data))


def _claimed(pk: int) -> Delivery | None:
    """The delivery, if it is due and no other worker was quicker."""
    now = timezone.now()
    mine = Delivery.objects.filter(
        pk=pk, state=Delivery.State.WAITING, next_try_at__lte=now
    ).update(tries=F("tries") + 1, next_try_at=now + CLAIMED_FOR)
    if not mine:
        return None
    return Delivery.objects.select_related("alert__team", "webhook").get(pk=pk)


def _send(delivery: Delivery) -> None:
    if delivery.webhook is None:
        emails.send(delivery.alert, delivery.email, delivery.message_id)
    elif not delivery.webhook.enabled:
        raise Undelivered("The webhook is disabled.")
    else:
        webhooks.send(delivery.webhook, delivery.message_id, body_of(delivery.alert))


def body_of(alert: Alert) -> bytes:
    """What webhooks are sent. The same in every try."""
    data = {
        **alert.data,
        "alert": alert.identity,
        "text": alert.text,
        "team": alert.team.name if alert.team else None,
    }
    return webhooks.message(TYPES[alert.kind], alert.raised_at, data)


def _try_later(delivery: Delivery, trouble: str) -> None:
    if delivery.tries > len(PAUSES_S):
        _give_up(delivery, trouble)
        return
    pause_s = PAUSES_S[delivery.tries - 1] * (1 + random.uniform(0, JITTER))
    _failed(delivery, next_try_at=timezone.now() + timedelta(seconds=pause_s), trouble=trouble)


def _give_up(delivery: Delivery, trouble: str) -> None:
    logger.error("delivery %s of alert %s was given up", delivery.pk, delivery.alert_id)
    _failed(delivery, state=Delivery.State.FAILED, trouble=trouble)


def _failed(delivery: Delivery, **fields: object) -> None:
    """Write down how this try went, unless its claim had passed on to another worker."""
    _waiting(delivery).filter(tries=delivery.tries).update(**fields)


def _waiting(delivery: Delivery) -> QuerySet[Delivery]:
    return Delivery.objects.filter(pk=delivery.pk, state=Delivery.State.WAITING)
