"""Makes the configuration what an export says, and nothing else: what it leaves out is undone.

Secrets stay as they are. A key that is closed now is not opened, and one that has been issued
since is not ended: both are told as warnings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import models
from django.db.models import ProtectedError

from accounts import traces
from accounts.keys import archive_team, restore_team
from accounts.models import ApiKey, Plan, Team
from courier_site.manifest.document import Document, Entry, ManifestError
from courier_site.manifest.writing import NoSecret, Row, Writer
from registry.models import Alias, Provider, RoutingPolicy, ServedModel, UpstreamKey

#: What has a name by which people know it, and may be given another.
NAMED: Mapping[str, type[models.Model]] = {
    "provider": Provider,
    "model": ServedModel,
    "policy": RoutingPolicy,
    "plan": Plan,
    "team": Team,
    "key": ApiKey,
    "upstream key": UpstreamKey,
}
#: Rows by kind and by what they are called: the number, the name, a mark of the secret.
Rows = Mapping[str, Mapping[str, list[Any]]]
#: Fields by which a row is found, or that no manifest knows.
LEFT_ALONE = frozenset(
    {
        *("name", "metric", "window_s", "model", "period", "window"),
        *("upstream_model", "starts_at", "source"),
    }
)
#: What would let a key in again.
OPENING = frozenset({"disabled_at", "expires_at"})


class Restorer(Writer):
    """Makes rows exactly what their entries say: a field that is not given has its default."""

    def __init__(self, document: Document) -> None:
        super().__init__(document, mark="", prunes=True)

    def decides(self, owner: models.Model, entry: Entry, key: str) -> bool:
        return True

    def claim(self, row: models.Model) -> None:
        """A row is whose it was."""

    def put(
        self,
        row: Row,
        wanted: dict[str, Any],
        entry: Entry,
        label: str,
        secret: dict[str, Any] | None = None,
    ) -> Row:
        wanted = _defaults(row) | wanted
        if isinstance(row, ApiKey) and not row._state.adding and row.state != "usable":
            wanted = self._kept_closed(row, wanted, entry)
        return super().put(row, wanted, entry, label, secret)

    def _kept_closed(self, key: ApiKey, wanted: dict[str, Any], entry: Entry) -> dict[str, Any]:
        opening = {name for name in OPENING & wanted.keys() if getattr(key, name) != wanted[name]}
        if opening or key.disabled_at:
            self.warn(entry, "name", f"The key {key.name} is {key.state}, and stays so.")
        return {name: value for name, value in wanted.items() if name not in OPENING}

    def without_secret(self, entry: Entry) -> dict[str, Any]:
        text = "Its secret is gone with it: enter it again, or it is not used."
        self.warn(entry, "name", f"The upstream key {entry.text('name')} was deleted. {text}")
        return {"sealed_secret": ""}

    def brings_back(self, team: Team, entry: Entry) -> bool:
        """It opens nothing: the team's former keys stay revoked."""
        restore_team(team)
        self.outcome.changes.append(f"restore team {team}")
        return True

    def complaints_of(self, error: ManifestError) -> list[str]:
        if isinstance(error, NoSecret):
            self.outcome.warnings += error.complaints
            return []
        return super().complaints_of(error)

    def drop(self, rows: models.QuerySet[Any]) -> None:
        for row in rows:
            match row:
                case ApiKey():
                    self._leave(row, "it was issued since")
                case Team():
                    self._drop_team(row)
                case _:
                    self._delete(row)

    def _drop_team(self, team: Team) -> None:
        if team.api_keys.filter(revoked_at=None).exists():
            self._leave(team, "it has keys")
        elif traces.left_by(team) or team.api_keys.exists():
            archive_team(team)
            self.outcome.changes.append(f"archive team {team}")
        else:
            self._delete(team)

    def _delete(self, row: models.Model) -> None:
        label = f"{row._meta.verbose_name} {row}"
        try:
            row.delete()
        except ProtectedError:
            self._leave(row, "something needs it")
            return
        self.outcome.changes.append(f"delete {label}")

    def _leave(self, row: models.Model, why: str) -> None:
        self.outcome.warnings.append(f"The {row._meta.verbose_name} {row} stays: {why}.")

    def clear_the_way(self, rows: Rows) -> None:
        """Give back former names, and delete first what may be in the way of what was there."""
        self._rename(rows)
        models_of = self.document.root.entries("models", "model")
        names = [entry.text("name") for entry in models_of]
        self.drop(ServedModel.objects.exclude(name__in=names))
        for entry in models_of:
            kept = entry.texts("aliases") if "aliases" in entry else []
            self.drop(Alias.objects.filter(model__name=entry.text("name")).exclude(name__in=kept))

    def _rename(self, rows: Rows) -> None:
        renamed = [
            (row, str(name))
            for kind, called in rows.items()
            for number, name, _ in called.values()
            if (row := _living(kind, number)) and row.name != name
        ]
        free = [(row, name) for row, name in renamed if not _is_taken(row, name, renamed)]
        for row, _ in free:
            type(row)._default_manager.filter(pk=row.pk).update(name=f"~{row.pk}")
        for row, name in free:
            label = f"{row._meta.verbose_name} {row}"
            row.name = name
            row.save(update_fields=["name"])
            self.outcome.changes.append(f"rename {label} to {name}")


def _living(kind: str, number: int) -> Any:
    """The row, unless it has ended for good."""
    row = NAMED[kind]._default_manager.filter(pk=number).first() if kind in NAMED else None
    ended = getattr(row, "revoked_at", None) or getattr(row, "archived_at", None)
    return None if ended else row


def _is_taken(row: Any, name: str, renamed: list[tuple[Any, str]]) -> bool:
    """Whether another row has the name now, and keeps it."""
    same: dict[str, Any] = {"name": name}
    match row:
        case ApiKey():
            same |= {"team": row.team_id, "revoked_at": None}
        case UpstreamKey():
            same |= {"provider": row.provider_id}
    leaving = [other.pk for other, _ in renamed if type(other) is type(row)]
    return bool(type(row)._default_manager.filter(**same).exclude(pk__in=leaving).exists())


def _defaults(row: models.Model) -> dict[str, Any]:
    """What an export leaves out, because it is as usual."""
    return {
        field.name: field.get_default()
        for field in row._meta.concrete_fields
        if field.editable
        and not (field.primary_key or field.is_relation or field.name in LEFT_ALONE)
    }
