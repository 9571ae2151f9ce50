"""What keeps Courier from starting: each fault has an id and a hint."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register, run_checks
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.migrations.executor import MigrationExecutor

from gateway import idempotency

logger = logging.getLogger(__name__)

TAG = "courier"
UNPRICED = ("refuse", "allow")
ROLES = ("all", "gateway", "admin")
SECRETS = ("SECRET_KEY", "COURIER_ENCRYPTION_KEYS", "COURIER_KEY_PEPPER")
NETWORKS = ("COURIER_ALLOW_PRIVATE_UPSTREAMS", "COURIER_TRUSTED_PROXIES")
SHORTEST_SECRET = 32
#: Fewer different characters than this are a placeholder, not a random secret.
FEWEST_CHARACTERS = 8
EXAMPLES = ("change", "example", "insecure", "secret", "password", "placeholder")


class Misconfigured(Exception):
    """Courier does not start like this. The message is for the operator."""


def require() -> None:
    """Raise Misconfigured if there is an error, or a migration that was not run."""
    messages = run_checks(tags=[TAG])
    faults = [f"{message.id}: {message.msg} {message.hint or ''}" for message in messages
              if message.is_serious()]  # fmt: skip
    if faults:
        raise Misconfigured("\n".join(faults))
    if missing := _missing_migrations():
        raise Misconfigured(
            f"{missing} migrations have not been run. Run: python manage.py migrate"
        )


@register(TAG)
def check_role(**_: Any) -> Iterator[CheckMessage]:
    if settings.COURIER_ROLE not in ROLES:
        yield Error(
            f'COURIER_ROLE cannot be "{settings.COURIER_ROLE}".',
            hint=f"Choose one of: {', '.join(ROLES)}.",
            id="courier.E001",
        )


@register(TAG)
def check_workers(**_: Any) -> Iterator[CheckMessage]:
    if settings.COURIER_WORKERS < 1:
        yield Error("COURIER_WORKERS must be at least 1.", id="courier.E002")
    if settings.COURIER_WORKERS > 1 and not settings.REDIS_URL:
        yield Error(
            "More than one server process needs Redis: each would count limits for itself.",
            hint="Set REDIS_URL, or COURIER_WORKERS=1.",
            id="courier.E003",
        )


@register(TAG)
def check_secrets(**_: Any) -> Iterator[CheckMessage]:
    kind = Error if settings.PRODUCTION else Warning
    given = {name: _values(name) for name in SECRETS}
    for name, values in given.items():
        if not values or any(_is_weak(value) for value in values):
            yield kind(
                f"{name} is weak: too short, or an example.",
                hint="Set 32 or more random characters: "
                "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'",
                id="courier.E004" if settings.PRODUCTION else "courier.W004",
            )
    everything = [value for values in given.values() for value in values]
    if len(set(everything)) < len(everything):
        yield kind(
            "Two secrets are the same.",
            hint=f"Give {', '.join(SECRETS)} different values.",
            id="courier.E005" if settings.PRODUCTION else "courier.W005",
        )


@register(TAG)
def check_networks(**_: Any) -> Iterator[CheckMessage]:
    for setting in NETWORKS:
        for network in getattr(settings, setting):
            if not _is_network(network):
                yield Error(
                    f'"{network}" in {setting} is not a network.',
                    hint="Write networks such as 10.0.0.0/8, separated by commas.",
                    id="courier.E006",
                )


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


@register(TAG)
def check_debug(**_: Any) -> Iterator[CheckMessage]:
    if settings.PRODUCTION and settings.DEBUG:
        yield Error(
            "COURIER_DEBUG is on in production: its error pages show settings and data.",
            hint="Unset COURIER_DEBUG.",
            id="courier.E007",
        )


@register(TAG)
def check_unpriced(**_: Any) -> Iterator[CheckMessage]:
    if settings.COURIER_UNPRICED not in UNPRICED:
        yield Error(
            f'COURIER_UNPRICED cannot be "{settings.COURIER_UNPRICED}".',
            hint="Choose refuse, or allow, which serves requests that no budget holds.",
            id="courier.E008",
        )


@register(TAG)
def check_idempotency(**_: Any) -> Iterator[CheckMessage]:
    if settings.COURIER_IDEMPOTENCY not in idempotency.MODES:
        yield Error(
            f'COURIER_IDEMPOTENCY cannot be "{settings.COURIER_IDEMPOTENCY}".',
            hint=f"Choose one of: {', '.join(idempotency.MODES)}.",
            id="courier.E009",
        )


def _values(name: str) -> list[str]:
    value = getattr(settings, name)
    return value if isinstance(value, list) else [value]


def _is_weak(secret: str) -> bool:
    return (
        len(secret) < SHORTEST_SECRET
        or len(set(secret)) < FEWEST_CHARACTERS
        or any(word in secret.lower() for word in EXAMPLES)
    )


def _missing_migrations() -> int:
    """How many; 0 too if the database is away, for a server may wait for it."""
    try:
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
        return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except OperationalError:
        logger.warning("the database does not answer; its migrations were not checked")
        return 0
    finally:
        connections[DEFAULT_DB_ALIAS].close()
