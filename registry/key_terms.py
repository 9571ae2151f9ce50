"""What an upstream key may be used for and has to keep to, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from lib.money import NANO_PER_DOLLAR
from registry.models import UpstreamKey


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """The terms of one upstream key. None: without a bound."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    budget_nano: int | None = None
    #: day, month or total, in UTC.
    budget_period: str = "month"
    #: Patterns of upstream models; none: all.
    models: tuple[str, ...] = ()
    #: When its secret was entered: what is known of another secret says nothing of this one.
    entered_at: datetime = datetime.min.replace(tzinfo=UTC)
    #: Why the provider has refused it for good; empty: it has not.
    out_reason: str = ""

    @property
    def is_counted(self) -> bool:
        """Whether anything that an attempt uses has to be counted."""
        return self.budget_nano is not None or any(
            (self.requests_per_minute, self.tokens_per_minute, self.concurrency)
        )

    def allow(self, upstream_model: str) -> bool:
        """Whether the key may be used for it. A name with a wildcard is not decided yet."""
        if not self.models or "*" in upstream_model:
            return True
        return any(fnmatchcase(upstream_model, pattern) for pattern in self.models)


FREE = KeyTerms()


def terms_of(key: UpstreamKey | None) -> KeyTerms:
    """The terms of a row; a provider that needs no key has none."""
    if key is None:
        return FREE
    return KeyTerms(
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
        concurrency=key.concurrency,
        budget_nano=None if key.budget is None else int(key.budget * NANO_PER_DOLLAR),
        budget_period=key.budget_period,
        models=patterns(key.allowed_models),
        entered_at=key.changed_at,
        out_reason=(key.out_reason or "key_refused") if key.out_since else "",
    )


def patterns(told: object) -> tuple[str, ...]:
    """The patterns in a row's list, whatever else may be in it."""
    return tuple(each for each in told if isinstance(each, str)) if isinstance(told, list) else ()
