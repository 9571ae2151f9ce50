"""The sections of a manifest that say who may call, and how much: teams and keys."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from accounts import keys as api_keys
from accounts.models import ApiKey, Budget, RateLimit, Team
from courier_site.manifest.document import Entry
from courier_site.manifest.secrets import given_secret
from courier_site.manifest.vocabulary import LIMITS
from courier_site.manifest.writing import KnownKey, Writer


def put_team(writer: Writer, entry: Entry) -> Team:
    entry.only("name", "limits", "budgets")
    name = entry.text("name")
    row = Team.objects.filter(name=name).first() or Team(name=name)
    writer.put(row, {}, entry, f"team {name}")
    _put_limits(writer, entry, row)
    _put_budgets(writer, entry, row)
    return row


def put_key(writer: Writer, entry: Entry) -> ApiKey:
    entry.only(
        *("name", "team", "secret", "secret_file", "if_unset", "models", "endpoints"),
        *("limits", "budgets", "expires_at", "enabled"),
    )
    name, secret = entry.text("name"), given_secret(entry)
    team = Team.objects.filter(name=entry.text("team")).first()
    if team is None:
        raise entry.error(f'There is no team named "{entry.text("team")}".', "team")
    rows = ApiKey.objects.filter(team=team, name=name)
    row, ended = rows.filter(revoked_at=None).first(), rows.exclude(revoked_at=None).first()
    if row is None and ended is not None and (secret is None or _has_opened(ended, secret)):
        writer.warn(entry, "name", f"The key {name} was revoked, and stays so.")
        return ended
    if row is None:
        row = _issue(writer, entry, team, secret)
    else:
        _change(writer, entry, row, secret)
    _put_limits(writer, entry, row)
    _put_budgets(writer, entry, row)
    return row


def _issue(writer: Writer, entry: Entry, team: Team, secret: str | None) -> ApiKey:
    if secret is None and "if_unset" in entry:
        raise entry.error("There is no such key yet whose secret could be kept.", "secret")
    row = ApiKey(team=team, name=entry.text("name"))
    plain = _equip(entry, row, secret)
    writer.put(row, _key_fields(entry, row), entry, f"key {row.name} of team {team.name}")
    writer.outcome.keys.append(KnownKey(row, plain, issued=secret is None))
    return row


def _equip(entry: Entry, row: ApiKey, secret: str | None) -> str:
    try:
        return api_keys.give_secret(row, secret)
    except ValueError as error:
        raise entry.error(str(error), "secret") from error


def _change(writer: Writer, entry: Entry, row: ApiKey, secret: str | None) -> None:
    fields = _secret_fields(writer, entry, row, secret) if secret is not None else {}
    writer.put(row, _key_fields(entry, row), entry, f"key {row.name}", fields)
    if secret is not None and row.digest == api_keys.digest(secret):
        writer.outcome.keys.append(KnownKey(row, secret, issued=False))


def _secret_fields(writer: Writer, entry: Entry, row: ApiKey, secret: str) -> dict[str, Any]:
    """The fields that hold the secret of the manifest; none if the key has it already."""
    digest = api_keys.digest(secret)
    if digest == row.digest:
        return {}
    if digest == row.previous_digest:
        message = f"The key {row.name} was rotated; its former secret is not put back."
        writer.warn(entry, "secret", message)
        return {}
    equipped = ApiKey()
    _equip(entry, equipped, secret)
    return {
        "digest": equipped.digest,
        "public_id": equipped.public_id,
        "previous_digest": None,
        "previous_public_id": "",
        "previous_until": None,
    }


def _has_opened(row: ApiKey, secret: str) -> bool:
    return api_keys.digest(secret) in {row.digest, row.previous_digest}


def _key_fields(entry: Entry, row: ApiKey) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "models" in entry:
        fields["allowed_models"] = entry.texts("models")
    if "endpoints" in entry:
        fields["allowed_endpoints"] = entry.texts("endpoints")
    if "expires_at" in entry:
        fields["expires_at"] = entry.moment("expires_at")
    if "enabled" in entry:
        since = row.disabled_at or timezone.now()
        fields["disabled_at"] = None if entry.flag("enabled") else since
    return fields


def _put_limits(writer: Writer, entry: Entry, owner: Team | ApiKey) -> None:
    """Make the limits of a team or key those of the manifest."""
    if not writer.decides(owner, entry, "limits"):
        return
    present = []
    if "limits" in entry:
        limits = entry.entry("limits")
        limits.only(*LIMITS)
        for name in limits:
            metric, window = LIMITS[name]
            row = _limit(owner, metric, window)
            wanted = {"amount": limits.whole(name)}
            present.append(writer.put(row, wanted, limits, f"limit {name} of {_label(owner)}").pk)
    writer.drop(owner.ratelimits.exclude(pk__in=present))


def _limit(owner: Team | ApiKey, metric: str, window: int) -> RateLimit:
    rows = owner.ratelimits.filter(metric=metric)
    if metric != RateLimit.Metric.CONCURRENCY:
        rows = rows.filter(window_s=window)
    return rows.first() or RateLimit(metric=metric, window_s=window, **_scope(owner))


def _put_budgets(writer: Writer, entry: Entry, owner: Team | ApiKey) -> None:
    if "budgets" in entry:
        message = "Budgets are kept and shown, but not enforced by this version."
        writer.warn(entry, "budgets", message)

    def put(item: Entry) -> Budget:
        item.only("amount", "period", "hard")
        period = item.choice("period", Budget.Period.values)
        wanted: dict[str, Any] = {"amount": item.decimal("amount")}
        if "hard" in item:
            wanted["hard"] = item.flag("hard")
        row = owner.budgets.filter(period=period).first() or Budget(period=period, **_scope(owner))
        return writer.put(row, wanted, item, f"budget per {period} of {_label(owner)}")

    writer.exactly(owner, owner.budgets.all(), entry, "budgets", put)


def _scope(owner: Team | ApiKey) -> dict[str, Any]:
    return {"key": owner} if isinstance(owner, ApiKey) else {"team": owner}


def _label(owner: Team | ApiKey) -> str:
    return f"key {owner.name}" if isinstance(owner, ApiKey) else f"team {owner.name}"
