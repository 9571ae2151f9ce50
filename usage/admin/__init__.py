"""What was used, in the admin: requests, sums per day, exports, and what was set aside."""

from usage.admin import (
    alerts,
    daily,
    decisions,
    exports,
    purges,
    quarantine,
    records,
    reports,
    reratings,
    webhooks,
)

__all__ = [
    "alerts",
    "daily",
    "decisions",
    "exports",
    "purges",
    "quarantine",
    "records",
    "reports",
    "reratings",
    "webhooks",
]
