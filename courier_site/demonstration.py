"""What a first start sets up to be tried at once, where no manifest says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from accounts.models import Membership, Team, User
from courier_site import manifest, secret_files
from registry import price_list
from registry.kinds import is_offered

MODEL = "echo"
TEAM = "demo"
PREFIX = "sk-demo-"

ECHO = """\
version: 1
providers:
  - {name: echo, kind: echo}
models:
  - name: echo
    description: Says the last message again. Needs no provider; for trying Courier.
    routes: [{provider: echo, upstream_model: echo}]
    prices: [{from: 2026-01-01, input: "0.15", output: "0.60"}]
teams:
  - name: demo
keys:
  - name: demo
    team: demo
    secret: ${DEMO_KEY}
    limits: {rpm: 600, tpm: 1000000, concurrency: 50}
"""
CHAOS = """\
version: 1
providers:
  - {name: chaos, kind: chaos}
models:
  - name: chaos-503
    description: Always fails with status 503. For drills.
    routes: [{provider: chaos, upstream_model: status-503}]
    prices: [{free: true}]
  - name: chaos-slow
    description: Says the last message again, one word per second. For drills.
    routes: [{provider: chaos, upstream_model: slow-1}]
    prices: [{free: true}]
  - name: chaos-fallback
    description: Fails, and falls back to echo. For drills.
    routes:
      - {provider: chaos, upstream_model: status-503, priority: 0}
      - {provider: echo, upstream_model: echo, priority: 1}
    prices: [{free: true}]
"""
#: A variable with a vendor's key, to the provider that it adds. Prices come from the shipped list.
VENDORS = {
    "OPENAI_API_KEY": """\
version: 1
providers:
  - {name: openai, kind: openai, keys: [{name: first, secret: "${OPENAI_API_KEY}"}]}
models:
  - {name: gpt-4o-mini, routes: [{provider: openai, upstream_model: gpt-4o-mini}]}
  - {name: gpt-4.1-mini, routes: [{provider: openai, upstream_model: gpt-4.1-mini}]}
""",
    "ANTHROPIC_API_KEY": """\
version: 1
providers:
  - {name: anthropic, kind: anthropic, keys: [{name: first, secret: "${ANTHROPIC_API_KEY}"}]}
models:
  - {name: claude-haiku-4-5, routes: [{provider: anthropic, upstream_model: claude-haiku-4-5}]}
""",
    "GEMINI_API_KEY": """\
version: 1
providers:
  - {name: gemini, kind: gemini, keys: [{name: first, secret: "${GEMINI_API_KEY}"}]}
models:
  - {name: gemini-2.5-flash, routes: [{provider: gemini, upstream_model: gemini-2.5-flash}]}
""",
}


def set_up(admin: User, environ: Mapping[str, str]) -> None:
    """Make the demonstration. Nothing of it is marked as managed: people may change it all."""
    secret = settings.COURIER_DEMO_KEY or secret_files.read_or_make(_secret_file(), PREFIX)
    _apply(ECHO, {"DEMO_KEY": secret})
    if is_offered("chaos"):
        _apply(CHAOS, {})
    for variable, text in VENDORS.items():
        if environ.get(variable):
            _apply(text, environ)
    _price_what_has_none()
    team = Team.objects.get(name=TEAM)
    Membership.objects.create(team=team, user=admin, role=Membership.Role.OWNER)


def _price_what_has_none() -> None:
    unpriced = [model for model in price_list.models() if not model.prices.all()]
    price_list.write(price_list.compare(unpriced, timezone.now()).writable)


def known_secret() -> str:
    """The secret of the demonstration's key; empty if there never was one."""
    path = _secret_file()
    return settings.COURIER_DEMO_KEY or (path.read_text().strip() if path.exists() else "")


def _secret_file() -> Path:
    return Path(settings.DATA_DIR) / "secrets" / "demo_key"


def _apply(text: str, environ: Mapping[str, str]) -> None:
    manifest.apply(manifest.Document("demonstration", text, environ), mark="")
