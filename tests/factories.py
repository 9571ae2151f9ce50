"""Rows for tests, made by plain functions with defaults."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

from django.utils import timezone

from accounts.models import Budget, BudgetRaise, Membership, RateLimit, Team, User
from registry.models import (
    Alias,
    Price,
    Provider,
    Route,
    RoutingPolicy,
    ServedModel,
    UpstreamKey,
)

#: Any price that a test adds to a model is newer.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
PASSWORD = "a long enough passphrase"
_numbers = count(1)


def make_user(username=None, **fields):
    username = username or f"user-{next(_numbers)}"
    email = f"{username}@example.com"
    return User.objects.create_user(username, email, PASSWORD, **fields)


def make_admin(username="root"):
    return User.objects.create_superuser(username, f"{username}@example.com", PASSWORD)


def make_team(name=None, *, owner=None, members=()):
    team = Team.objects.create(name=name or f"team-{next(_numbers)}")
    if owner:
        Membership.objects.create(team=team, user=owner, role=Membership.Role.OWNER)
    for member in members:
        Membership.objects.create(team=team, user=member, role=Membership.Role.MEMBER)
    return team


def make_key(team=None, name=None, **fields):
    """A new key. Its secret, which is kept nowhere, is at hand as `key.secret`."""
    from accounts import keys

    key, secret = keys.issue_key(team or make_team(), name or f"key-{next(_numbers)}", **fields)
    key.secret = secret
    return key


def make_limit(*, metric="requests", amount=10, window_s=60, **scope):
    """A limit of the `key`, `team` or `user` given."""
    return RateLimit.objects.create(metric=metric, amount=amount, window_s=window_s, **scope)


def make_budget(*, amount=10, period="month", **fields):
    """A budget, in US dollars, of the `key`, `team`, `user` or `plan` given."""
    return Budget.objects.create(amount=Decimal(amount), period=period, **fields)


def raise_budget(budget, amount, *, starts_at=None, ends_at=None):
    """So many US dollars more, for a day from now unless it is said otherwise."""
    starts_at = starts_at or timezone.now()
    ends_at = ends_at or starts_at + timedelta(days=1)
    return BudgetRaise.objects.create(
        budget=budget, amount=Decimal(amount), starts_at=starts_at, ends_at=ends_at, reason="test"
    )


def make_provider(name=None, *, kind="openai_compatible", base_url="http://127.0.0.1:9", **fields):
    name = name or f"provider-{next(_numbers)}"
    return Provider.objects.create(name=name, kind=kind, base_url=base_url, **fields)


def make_upstream_key(provider, secret="sk-upstream-of-a-test", name="default", **fields):
    key = UpstreamKey(provider=provider, name=name, **fields)
    key.seal(secret)
    key.save()
    return key


def make_model(name=None, *providers, aliases=(), priced=True, **fields):
    """A model, with a route of falling priority to each provider. Free, unless not `priced`."""
    model = ServedModel.objects.create(name=name or f"model-{next(_numbers)}", **fields)
    for priority, provider in enumerate(providers):
        make_route(model, provider, priority=priority)
    for alias in aliases:
        Alias.objects.create(model=model, name=alias)
    if priced:
        Price.objects.create(model=model, free=True, starts_at=BEGINNING)
    return model


def make_route(model, provider, *, upstream_model=None, **fields):
    upstream_model = upstream_model or model.name
    return Route.objects.create(
        model=model, provider=provider, upstream_model=upstream_model, **fields
    )


def make_policy(name=None, *, when=None, then, **fields):
    return RoutingPolicy.objects.create(
        name=name or f"policy-{next(_numbers)}", conditions=when or {}, actions=then, **fields
    )


def make_price(model, *, input="1", output="2", **fields):
    """A price in US dollars per million tokens."""
    return Price.objects.create(model=model, input=Decimal(input), output=Decimal(output), **fields)


def make_webhook(url="http://127.0.0.1:9/hook", name=None, **fields):
    """A webhook. Its secret is at hand as `webhook.secret`."""
    from usage.models import Webhook
    from usage.webhooks import new_secret

    webhook = Webhook(name=name or f"webhook-{next(_numbers)}", url=url, **fields)
    webhook.seal(new_secret())
    webhook.save()
    return webhook
