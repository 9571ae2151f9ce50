"""The sections of a manifest that say who may call: plans, teams and keys."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from accounts import keys as api_keys
from accounts.models import ApiKey, Plan, Team
from courier_site.manifest.allotting import put_budgets, put_limits
from courier_site.manifest.document import Entry
from courier_site.manifest.secrets import given_secret
from courier_site.manifest.writing import KnownKey, NoSecret, Writer


def put_plan(writer: Writer, entry: Entry) -> Plan:
    entry.only("name", "description", "limits", "budgets")
    name = entry.text("name")
    row = Plan.objects.filter(name=name).first() or Plan(name=name)
    fields = {"description": entry.text("description")} if "description" in entry else {}
    writer.put(row, fields, entry, f"plan {name}")
    put_limits(writer, entry, row)
    put_budgets(writer, entry, row)
    return row


def put_team(writer: Writer, entry: Entry) -> Team:
    entry.only("name", "time_zone", "markup_percent", "limits", "budgets")
    name = entry.text("name")
    row = Team.objects.filter(name=name).first() or Team(name=name)
    if row.archived_at and not writer.brings_back(row, entry):
        return row
    writer.put(row, _team_fields(entry), entry, f"team {name}")
    put_limits(writer, entry, row)
    put_budgets(writer, entry, row)
    return row


def _team_fields(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "time_zone" in entry:
        fields["time_zone"] = entry.text("time_zone")
    if "markup_percent" in entry:
        fields["markup_percent"] = entry.decimal("markup_percent")
    return fields


def put_key(writer: Writer, entry: Entry) -> ApiKey:
    entry.only(
        *("name", "team", "secret", "secret_file", "if_unset", "models", "endpoints"),
        *("plan", "limits", "budgets", "expires_at", "enabled"),
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
    put_limits(writer, entry, row)
    put_budgets(writer, entry, row)
    return row


def _issue(writer: Writer, entry: Entry, team: Team, secret: str | None) -> ApiKey:
    if team.archived_at:
        raise entry.error(f"The team {team.name} is archived. Restore it first.", "team")
    if secret is None and "if_unset" in entry:
        text = "There is no such key yet whose secret could be kept."
        raise NoSecret([str(entry.error(text, "secret"))])
    row = ApiKey(team=team, name=entry.text("name"))
    plain = _equip(entry, row, secret)
    writer.put(row, _key_fields(writer, entry, row), entry, f"key {row.name} of team {team.name}")
    writer.outcome.keys.append(KnownKey(row, plain, issued=secret is None))
    return row


def _equip(entry: Entry, row: ApiKey, secret: str | None) -> str:
    try:
        return api_keys.give_secret(row, secret)
    except ValueError as error:
        raise entry.error(str(error), "secret") from error


def _change(writer: Writer, entry: Entry, row: ApiKey, secret: str | None) -> None:
    fields = _secret_fields(writer, entry, row, secret) if secret is not None else {}
    writer.put(row, _key_fields(writer, entry, row), entry, f"key {row.name}", fields)
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


def _key_fields(writer: Writer, entry: Entry, row: ApiKey) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if writer.decides(row, entry, "plan"):
        fields["plan"] = _plan(entry)
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


def _plan(entry: Entry) -> Plan | None:
    if "plan" not in entry:
        return None
    name = entry.text("plan")
    plan = Plan.objects.filter(name=name).first()
    if plan is None:
        raise entry.error(f'There is no plan named "{name}".', "plan")
    return plan
