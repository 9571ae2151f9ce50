"""Who is calling: from a secret to a principal, out of memory wherever possible.

A known key costs one HMAC and one look into a dict. An unknown one costs two queries, once.
On every change of the configuration all known keys are read anew *before* the new snapshot
is in force, so that nothing revoked outlives it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from accounts.allowances import Allowances
from accounts.errors import IdentityUnavailable, InvalidApiKey
from accounts.keys import digest, is_wellformed
from accounts.lookups import Lookups
from accounts.models import ApiKey
from accounts.rules import BudgetRule, Limit, Rules
from lib.database_threads import connected

logger = logging.getLogger(__name__)

MAX_KNOWN = 50_000
MAX_UNKNOWN = 8_000
UNKNOWN_FOR_S = 5
BATCH = 400


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling."""

    key_id: int
    key_name: str
    public_id: str
    team_id: int
    team_name: str
    user_id: int | None
    user_name: str
    allowed_models: tuple[str, ...]
    allowed_endpoints: tuple[str, ...]
    #: When this secret ends: with the key, or earlier, if it was rotated out.
    expires_at: datetime | None
    #: Of the key or its plan, its team and its owner.
    limits: tuple[Limit, ...]
    budgets: tuple[BudgetRule, ...] = ()
    #: The team's: where its days begin, and what it pays above the price, in 1/100 percent.
    time_zone: str = "UTC"
    markup_bp: int = 0
    #: What the secret was known by. It opens nothing by itself.
    digest: str = field(default="", repr=False, compare=False)
    #: By model: which of the limits count a request for it.
    _rules: dict[str, Rules] = field(default_factory=dict, repr=False, compare=False)

    def may_use(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self.allowed_models)

    def may_call(self, operation: str) -> bool:
        return any(fnmatchcase(operation, pattern) for pattern in self.allowed_endpoints)

    def rules_for(self, model: str) -> Rules:
        """What a request for this served model has to keep to."""
        rules = self._rules.get(model)
        if rules is None:
            counted = [one for one in self.limits if counts(one, model)]
            rules = self._rules[model] = Rules(tuple(counted), self.budgets)
        return rules

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)


def counts(limit: Limit, model: str) -> bool:
    """Whether a limit counts requests for this served model."""
    return not limit.model or fnmatchcase(model, limit.model)


class Known:
    """What was learned of digests, at most so many. Shared by the event loop and the loader."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._principals: OrderedDict[str, Principal] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        #: Those that opened the gateway until the last change, or one not long before it.
        self._ended: OrderedDict[str, None] = OrderedDict()
        #: Those that were good when the configuration was last read, used or not.
        self.issued: frozenset[str] = frozenset()
        #: Goes up with every change. What was asked before a change is not learned after it.
        self.generation = 0

    def get(self, digest: str) -> Principal | None:
        # A dict looks a key up by its hash and then compares it whole. How long that takes
        # tells an attacker about the HMAC of a guess, which without the pepper says nothing
        # about any secret: `compare_digest` would guard nothing here.
        principal = self._principals.get(digest)
        # One that has expired is looked up like any that is unknown: to be refused sooner would
        # tell that it once was a key.
        return None if principal is None or principal.is_expired else principal

    def is_unknown(self, digest: str) -> bool:
        return self._unknown.get(digest, 0.0) > time.monotonic()

    def learn(self, digest: str, principal: Principal | None, generation: int) -> None:
        with self._lock:
            if generation != self.generation:
                return
            if principal is None:
                self._principals.pop(digest, None)
                self._unknown[digest] = time.monotonic() + UNKNOWN_FOR_S
                _trim(self._unknown, MAX_UNKNOWN)
            else:
                self._principals[digest] = principal
                self._ended.pop(digest, None)
                _trim(self._principals, MAX_KNOWN)

    def begin_generation(self) -> list[str]:
        """Forget who was unknown, and tell which digests must be read anew."""
        with self._lock:
            self.generation += 1
            self._unknown.clear()
            return list(self._principals)

    def replace(self, principals: OrderedDict[str, Principal]) -> None:
        """Know these and no others, from one moment to the next."""
        with self._lock:
            self._ended.update(dict.fromkeys(self._principals.keys() - principals.keys()))
            for digest in principals:
                self._ended.pop(digest, None)
            _trim(self._ended, MAX_UNKNOWN)
            self._principals = principals

    def has_ended(self, digest: str) -> bool:
        return digest in self._ended


def _trim(entries: OrderedDict[str, Any], most: int) -> None:
    while len(entries) > most:
        entries.popitem(last=False)


_known = Known()
#: By a name that is looked up late: what is read may be replaced.
_lookups: Lookups[Principal] = Lookups(lambda digests: _look_up(digests))


def authenticate_cached(secret: str) -> Principal | None:
    """The principal, if it is in memory; None means that `authenticate` must be asked."""
    return _known.get(digest(secret))


def is_strange(secret: str) -> bool:
    """Whether it may well be made up, and telling takes another look into the database."""
    if not is_wellformed(secret):
        return False
    key_digest = digest(secret)
    if key_digest in _known.issued or _known.is_unknown(key_digest):
        return False
    return not _lookups.are_finding(_known.generation, key_digest)


def has_ended(principal: Principal) -> bool:
    """Whether its secret opens nothing any more: it was revoked, disabled, or has expired."""
    return principal.is_expired or _known.has_ended(principal.digest)


async def authenticate(secret: str) -> Principal:
    """The principal that this secret stands for. Raises InvalidApiKey or IdentityUnavailable."""
    try:
        principal = await _principal(secret)
    except (IdentityUnavailable, asyncio.CancelledError):
        raise
    except Exception as error:  # noqa: BLE001  # no answer is never taken for a yes, nor for a no
        logger.warning("an API key could not be checked: %s", type(error).__name__)
        raise IdentityUnavailable from None
    if principal is None or principal.is_expired:
        raise InvalidApiKey
    return principal


def principal_of(key: ApiKey) -> Principal | None:
    """Who a request with this key comes from; None if the key opens nothing. Synchronous."""
    return _read([key.digest]).get(key.digest)


def reload_known() -> None:
    """Read all known keys anew. Runs in the thread that loads the snapshot, on every change."""
    fresh: OrderedDict[str, Principal] = OrderedDict()
    digests = _known.begin_generation()
    for start in range(0, len(digests), BATCH):
        fresh.update(_read(digests[start : start + BATCH]))
    issued = _issued()
    _known.replace(fresh)
    _known.issued = issued


def _issued() -> frozenset[str]:
    """The digests of keys that open something; of very many the newest. Only hints."""
    usable = ApiKey.objects.usable().order_by("-pk").values_list("digest", "previous_digest")
    return frozenset(each for pair in usable[:MAX_KNOWN].iterator() for each in pair if each)


async def _principal(secret: str) -> Principal | None:
    if not is_wellformed(secret):
        return None
    key_digest = digest(secret)
    known = _known.get(key_digest)
    if known is not None or _known.is_unknown(key_digest):
        return known
    return await _lookups.find(_known.generation, key_digest)


def _look_up(digests: list[str]) -> dict[str, Principal | None]:
    """Read these digests, and learn what they stand for. Runs in a thread."""
    generation = _known.generation
    found = connected(lambda: _read(digests))
    for each in digests:
        _known.learn(each, found.get(each), generation)
    return {each: found.get(each) for each in digests}


def _read(digests: list[str]) -> dict[str, Principal]:
    """Who these digests stand for, by digest. Keys that open nothing are left out."""
    keys = list(
        ApiKey.objects.usable()
        .opened_by(digests)
        .exclude(owner__is_active=False)
        .filter(team__archived_at=None)
        .select_related("team", "owner")
    )
    allowances = Allowances(keys)
    former = {key.previous_digest: key for key in keys if key.previous_digest}
    current = {key.digest: key for key in keys}
    # The current secret of one key wins over a former one of another.
    opened = {**former, **current}
    return {d: _known_as(opened[d], d, allowances) for d in digests if d in opened}


def _known_as(key: ApiKey, key_digest: str, allowances: Allowances) -> Principal:
    return Principal(
        key_id=key.pk,
        key_name=key.name,
        public_id=key.public_id if key_digest == key.digest else key.previous_public_id,
        team_id=key.team_id,
        team_name=key.team.name,
        user_id=key.owner_id,
        user_name=key.owner.get_username() if key.owner else "",
        allowed_models=_texts(key.allowed_models),
        allowed_endpoints=_texts(key.allowed_endpoints),
        expires_at=_end_of(key, key_digest),
        limits=allowances.limits_of(key),
        budgets=allowances.budgets_of(key),
        time_zone=key.team.time_zone,
        markup_bp=int(key.team.markup_percent * 100),
        digest=key_digest,
    )


def _end_of(key: ApiKey, key_digest: str) -> datetime | None:
    if key_digest == key.digest:
        return key.expires_at
    # A former secret without an end would be one that nobody meant to keep: it has ended.
    ends = key.previous_until or datetime.min.replace(tzinfo=UTC)
    return min(ends, key.expires_at) if key.expires_at else ends


def _texts(values: object) -> tuple[str, ...]:
    """A list of permissions from the database. Anything else there allows nothing."""
    return tuple(str(value) for value in values) if isinstance(values, list) else ()
