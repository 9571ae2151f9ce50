"""The admin's look and its navigation, by task."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.admin import site
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse, reverse_lazy
from unfold.dataclasses import SearchResult

#: Results of the search per model: enough to pick from, and never a whole table.
FOUND_AT_MOST = 8
#: What the search looks in. Not the request log: it is too long to look through for a word.
SEARCHED = {
    "registry.provider": "cloud",
    "registry.servedmodel": "neurology",
    "accounts.apikey": "key",
    "accounts.team": "groups",
    "accounts.plan": "loyalty",
    "accounts.user": "person",
}


#: The accent: blue, from light to dark.
ACCENT = {
    "50": "oklch(97% .014 254.604)",
    "100": "oklch(93.2% .032 255.585)",
    "200": "oklch(88.2% .059 254.128)",
    "300": "oklch(80.9% .105 251.813)",
    "400": "oklch(70.7% .165 254.624)",
    "500": "oklch(62.3% .214 259.815)",
    "600": "oklch(54.6% .245 262.881)",
    "700": "oklch(48.8% .243 264.376)",
    "800": "oklch(42.4% .199 265.638)",
    "900": "oklch(37.9% .146 265.522)",
    "950": "oklch(28.2% .091 267.935)",
}


def environment(request: HttpRequest) -> list[str]:
    """The label at the top of each page: where people are about to change something."""
    return ["Production", "danger"] if settings.PRODUCTION else ["Laptop", "info"]


def search(request: HttpRequest, term: str) -> list[SearchResult]:
    """Rows of the searched models that fit, as far as the user may see them."""
    return [result for label in SEARCHED for result in _search_in(label, request, term)]


def _search_in(label: str, request: HttpRequest, term: str) -> list[SearchResult]:
    admin = next(a for model, a in site._registry.items() if model._meta.label_lower == label)
    if not admin.has_view_permission(request):
        return []
    rows, _ = admin.get_search_results(request, admin.get_queryset(request), term)
    url = f"admin:{label.replace('.', '_')}_change"
    return [
        SearchResult(
            title=str(row),
            description=str(row._meta.verbose_name).capitalize(),
            link=reverse(url, args=(row.pk,)),
            icon=SEARCHED[label],
        )
        for row in rows.distinct()[:FOUND_AT_MOST]
    ]


def _item(title: str, icon: str, name: str) -> dict[str, Any]:
    """An entry that leads to the list of a model, for those who may see it."""
    app, model = name.split(".")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{model}_changelist"),
        "permission": lambda request: request.user.has_perm(f"{app}.view_{model}"),
    }


def _is_at_reports(request: HttpRequest) -> bool:
    """Not at the page of spending, whose address is one below theirs."""
    below = request.path.startswith(reverse("admin:usage_reportdefinition_changelist"))
    return below and request.path != reverse("admin:usage_reportdefinition_spending")


def _may_view_reports(request: HttpRequest) -> bool:
    return request.user.has_perm("usage.view_reportdefinition")


def _may_simulate(request: HttpRequest) -> bool:
    return request.user.has_perms(["accounts.view_apikey", "registry.view_servedmodel"])


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Courier",
    "SITE_HEADER": "Courier",
    "SITE_SUBHEADER": "LLM gateway",
    "SITE_SYMBOL": "send",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("courier/favicon.svg"),
        }
    ],
    "STYLES": [lambda request: static("courier/lists.css")],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": environment,
    "COLORS": {"primary": ACCENT},
    "COMMAND": {"search_callback": search},
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "navigation": [
            {
                "items": [
                    {
                        "title": "Overview",
                        "icon": "monitoring",
                        "link": reverse_lazy("admin:index"),
                    }
                ]
            },
            {
                "title": "What can be called",
                "separator": True,
                "items": [
                    _item("Providers", "cloud", "registry.provider"),
                    _item("Upstream keys", "vpn_key", "registry.upstreamkey"),
                    _item("Models", "neurology", "registry.servedmodel"),
                    _item("Routes", "route", "registry.route"),
                    _item("Routing policies", "alt_route", "registry.routingpolicy"),
                    _item("Prices", "payments", "registry.price"),
                    _item("Certifications", "verified", "registry.certification"),
                    _item("Interventions", "emergency_home", "registry.intervention"),
                    {
                        "title": "What would happen",
                        "icon": "psychology_alt",
                        "link": reverse_lazy("gateway-simulate"),
                        "permission": _may_simulate,
                    },
                ],
            },
            {
                "title": "Who may call",
                "separator": True,
                "items": [
                    _item("API keys", "key", "accounts.apikey"),
                    _item("Teams", "groups", "accounts.team"),
                    _item("Users", "person", "accounts.user"),
                    _item("Groups", "badge", "auth.group"),
                    _item("Plans", "loyalty", "accounts.plan"),
                    _item("Limits", "speed", "accounts.ratelimit"),
                    _item("Budgets", "savings", "accounts.budget"),
                ],
            },
            {
                "title": "What was used",
                "separator": True,
                "items": [
                    _item("Requests", "receipt_long", "usage.usagerecord"),
                    _item("Refused requests", "block", "usage.decision"),
                    _item("Daily usage", "bar_chart", "usage.dailyusage"),
                    {
                        "title": "Spending",
                        "icon": "query_stats",
                        "link": reverse_lazy("admin:usage_reportdefinition_spending"),
                        "permission": _may_view_reports,
                    },
                    {
                        **_item("Reports", "table_chart", "usage.reportdefinition"),
                        "active": _is_at_reports,
                    },
                    _item("Exports", "download", "usage.export"),
                    _item("Re-ratings", "currency_exchange", "usage.reraterun"),
                    _item("Quarantine", "report", "usage.quarantinedrecord"),
                    _item("Purges", "delete_sweep", "usage.purgereceipt"),
                ],
            },
            {
                "title": "What was changed",
                "separator": True,
                "items": [
                    _item("Revisions", "history", "registry.recordedrevision"),
                    _item("Prepared changes", "event_upcoming", "registry.preparedchange"),
                ],
            },
            {
                "title": "Who is told",
                "separator": True,
                "items": [
                    _item("Alerts", "notifications", "usage.alert"),
                    _item("Webhooks", "webhook", "usage.webhook"),
                ],
            },
        ],
    },
}
