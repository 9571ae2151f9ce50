"""Signed messages to webhooks, as Standard Webhooks has them (standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from asgiref.sync import async_to_sync
from django.utils import timezone

from lib.encryption import CannotDecrypt
from registry import network, outbound
from usage.errors import Undelivered, Unwanted
from usage.models import Webhook

PREFIX = "whsec_"
#: Bytes. Standard Webhooks asks for 24 to 64.
SECRET_BYTES = 32
FEWEST_SECRET_BYTES = 24
CONNECT_WITHIN_S = 5.0
#: Over all: resolving, connecting, and waiting for the status.
ANSWER_WITHIN_S = 15.0
GONE = 410


class UnusableSecret(ValueError):
    """Nothing is signed with a secret that is missing, malformed or short."""


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def rotate(webhook: Webhook, grace: timedelta) -> str:
    """Give a new secret, and return it. For `grace`, messages are signed with both."""
    secret = new_secret()
    webhook.sealed_former_secret = webhook.sealed_secret
    webhook.former_until = timezone.now() + grace
    webhook.seal(secret)
    webhook.save(update_fields=["sealed_secret", "sealed_former_secret", "former_until"])
    return secret


def message(kind: str, moment: datetime, data: Mapping[str, Any]) -> bytes:
    """The body: always the same bytes for the same arguments."""
    body = {"type": kind, "timestamp": moment.astimezone(UTC), "data": data}
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the HMAC. Raises UnusableSecret."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(_key_in(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key_in(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise UnusableSecret("The secret is not whsec_ and base64.") from None
    if not secret.startswith(PREFIX) or len(key) < FEWEST_SECRET_BYTES:
        raise UnusableSecret(
            f"The secret must be {PREFIX} and {FEWEST_SECRET_BYTES} bytes or more."
        )
    return key


def send(webhook: Webhook, message_id: UUID, body: bytes) -> None:
    """Send one message. Raises Undelivered, or Unwanted where no other try is welcome."""
    try:
        outbound.check_webhook(webhook.url)
        headers = signed_headers(webhook, message_id, body)
    except outbound.ForbiddenUpstream as error:
        raise Undelivered(str(error)) from error
    except (CannotDecrypt, UnusableSecret) as error:
        raise Undelivered("Its secret cannot be used: give it a new one.") from error
    post = async_to_sync(network.post)
    try:
        status = post(webhook.url, headers, body, CONNECT_WITHIN_S, ANSWER_WITHIN_S)
    except network.NoAnswer as failure:
        raise Undelivered(str(failure)) from failure
    _judge(status)


def signed_headers(webhook: Webhook, message_id: UUID, body: bytes) -> dict[str, str]:
    """The headers of one try, signed with each secret that is in force."""
    timestamp = int(time.time())
    told_id = f"msg_{message_id.hex}"
    in_force = [webhook.secret]
    if former := webhook.former_secret:
        in_force.append(former)
    return {
        "content-type": "application/json",
        "user-agent": "Courier",
        "webhook-id": told_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            signature(secret, told_id, timestamp, body) for secret in in_force
        ),
    }


def _judge(status: int) -> None:
    if 200 <= status < 300:
        return
    if status == GONE:
        raise Unwanted("It answered 410: it wants no more messages, so the webhook is disabled.")
    if 300 <= status < 400:
        raise Undelivered(f"It answered {status}. Redirects are not followed.")
    raise Undelivered(f"It answered {status}.")
