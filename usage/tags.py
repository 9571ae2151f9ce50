"""How many different tags a team may have: beyond the bound they are one, `~other`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from django.conf import settings
from django.db import connections, transaction

from usage.models import TeamTag
from usage.rows import Row

#: No tag of a client has a tilde in it, and it sorts behind them all.
OTHER = "~other"
MOST_PER_REQUEST = 8
VALID = re.compile(r"[A-Za-z0-9._:/@+-]{1,36}")
#: Any number, as long as nothing else in the database locks it together with a team's.
LOCK = 7_232_417
#: Tags that are surely in the database, by team. Nothing is ever taken from them there.
_known: dict[int, frozenset[str]] = {}


def bounded(rows: Sequence[Row], database: str) -> Sequence[Row]:
    """The rows with those tags that their teams may have.

    Runs in the transaction that adds the rows: two writers take turns where a team has a new
    tag, and where there is none no statement is made.
    """
    tagged = {row.request_id: _told(row) for row in rows if row.value("tags")}
    if not tagged:
        return rows
    allowed = dict(_known)
    # In one order everywhere, or two writers could wait for each other.
    for team_id, tags in sorted(_unknown(rows, tagged).items()):
        allowed[team_id] = _admitted(team_id, tags, database)
    transaction.on_commit(lambda: _known.update(allowed), using=database)
    return [
        row.with_value("tags", _joined(tagged[row.request_id], allowed.get(row.value("team_id"))))
        if row.request_id in tagged
        else row
        for row in rows
    ]


def _told(row: Row) -> list[str]:
    told = dict.fromkeys(tag for tag in row.value("tags").split(",") if tag)
    valid = (tag if VALID.fullmatch(tag) else OTHER for tag in told)
    return list(dict.fromkeys(valid))[:MOST_PER_REQUEST]


def _unknown(rows: Sequence[Row], tagged: Mapping[UUID, list[str]]) -> dict[int, set[str]]:
    """By team, the tags that have to be asked for: where there is room for any, that is."""
    unknown: dict[int, set[str]] = {}
    for row in rows:
        team_id = row.value("team_id")
        known = _known.get(team_id, frozenset())
        if team_id is None or len(known) >= settings.COURIER_TEAM_TAGS:
            continue
        if new := set(tagged.get(row.request_id, ())) - known - {OTHER}:
            unknown.setdefault(team_id, set()).update(new)
    return unknown


def _admitted(team_id: int, tags: Iterable[str], database: str) -> frozenset[str]:
    """All tags of the team, after as many of these were added as there is room for."""
    _lock(team_id, database)
    objects = TeamTag.objects.using(database)
    present = frozenset(objects.filter(team_id=team_id).values_list("tag", flat=True))
    room = max(settings.COURIER_TEAM_TAGS - len(present), 0)
    new = sorted(set(tags) - present)[:room]
    objects.bulk_create(TeamTag(team_id=team_id, tag=tag) for tag in new)
    return present | frozenset(new)


def _lock(team_id: int, database: str) -> None:
    """Until the end of the transaction. In SQLite the transaction is the lock."""
    if connections[database].vendor == "postgresql":
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK, team_id % 2**31])


def _joined(tags: Iterable[str], allowed: frozenset[str] | None) -> str:
    return ",".join(sorted({tag if tag in (allowed or ()) else OTHER for tag in tags}))
