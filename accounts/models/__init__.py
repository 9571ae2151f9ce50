"""People, teams, API keys, and what each may use."""

from accounts.models.keys import ApiKey, ApiKeyQuerySet, everything
from accounts.models.limits import (
    LARGEST_BUDGET,
    MODEL_PATTERN,
    Budget,
    BudgetRaise,
    Plan,
    RateLimit,
    Scoped,
    check_thresholds,
    usual_thresholds,
)
from accounts.models.people import Membership, Team, User, check_time_zone

__all__ = [
    "LARGEST_BUDGET",
    "MODEL_PATTERN",
    "ApiKey",
    "ApiKeyQuerySet",
    "Budget",
    "BudgetRaise",
    "Membership",
    "Plan",
    "RateLimit",
    "Scoped",
    "Team",
    "User",
    "check_thresholds",
    "check_time_zone",
    "everything",
    "usual_thresholds",
]
