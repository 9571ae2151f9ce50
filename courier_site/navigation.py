"""The admin's look and its navigation, by task."""

from __future__ import annotations

from typing import Any

from django.urls import reverse_lazy


def _item(title: str, icon: str, name: str, permission: str = "") -> dict[str, Any]:
    item: dict[str, Any] = {"title": title, "icon": icon, "link": reverse_lazy(name)}
    if permission:
        item["permission"] = lambda request: request.user.has_perm(permission)
    return item


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Courier",
    "SITE_HEADER": "Courier",
    "SITE_SUBHEADER": "LLM gateway",
    "SITE_SYMBOL": "send",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {
        "show_search": True,
        "navigation": [
            {"items": [_item("Overview", "monitoring", "admin:index")]},
            {
                "title": "What can be called",
                "separator": True,
                "items": [
                    _item(
                        "Providers",
                        "cloud",
                        "admin:registry_provider_changelist",
                        "registry.view_provider",
                    ),
                    _item(
                        "Models",
                        "neurology",
                        "admin:registry_servedmodel_changelist",
                        "registry.view_servedmodel",
                    ),
                    _item(
                        "Prices",
                        "payments",
                        "admin:registry_price_changelist",
                        "registry.view_price",
                    ),
                ],
            },
            {
                "title": "Who may call",
                "separator": True,
                "items": [
                    _item(
                        "API keys",
                        "key",
                        "admin:accounts_apikey_changelist",
                        "accounts.view_apikey",
                    ),
                    _item(
                        "Teams", "groups", "admin:accounts_team_changelist", "accounts.view_team"
                    ),
                    _item(
                        "Users", "person", "admin:accounts_user_changelist", "accounts.view_user"
                    ),
                    _item(
                        "Limits",
                        "speed",
                        "admin:accounts_ratelimit_changelist",
                        "accounts.view_ratelimit",
                    ),
                    _item(
                        "Budgets",
                        "savings",
                        "admin:accounts_budget_changelist",
                        "accounts.view_budget",
                    ),
                ],
            },
            {
                "title": "What was used",
                "separator": True,
                "items": [
                    _item(
                        "Requests",
                        "receipt_long",
                        "admin:usage_usagerecord_changelist",
                        "usage.view_usagerecord",
                    ),
                    _item(
                        "Daily usage",
                        "bar_chart",
                        "admin:usage_dailyusage_changelist",
                        "usage.view_dailyusage",
                    ),
                    _item(
                        "Exports", "download", "admin:usage_export_changelist", "usage.view_export"
                    ),
                ],
            },
        ],
    },
}
