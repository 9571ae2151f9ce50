"""A Courier for one column of the matrix: its models under the names that clients know."""

import contextlib

from tests.conformance.limits import not_asked
from tests.e2e.courier import Courier, SQLite

KEY = "conformance-key-0123456789abcdef012345"


@contextlib.contextmanager
def courier(directory, column):
    """A running Courier that serves the column's models under their own names."""
    running = Courier(directory, SQLite(directory / "courier.sqlite3"))
    running.manage("migrate", "-v0")
    running.apply(_manifest(column))
    running.start()
    try:
        yield running
    finally:
        running.stop()


def settings(running, column):
    """What the scripts are told, to talk to one column through Courier."""

    return {
        "BASE_URL": running.url,
        "API_KEY": KEY,
        "MODEL": column.chat,
        "ANTHROPIC_MODEL": column.claude,
        "GEMINI_BASE_URL": running.origin,
        "GEMINI_MODEL": column.chat,
        "SKIP": ",".join(not_asked(column)),
        **column.further,
        **column.settings,
    }


def settings_without(column):
    """What the scripts are told, to talk to a column's server itself."""
    return {
        "BASE_URL": column.base_url,
        "API_KEY": column.key or "sk-none",
        "MODEL": column.chat,
        "ANTHROPIC_BASE_URL": column.base_url.removesuffix("/v1"),
        "ANTHROPIC_MODEL": column.claude,
        **column.further,
        **column.settings,
    }


def _manifest(column):
    return {
        "version": 1,
        "providers": [_provider(column)],
        "models": [_model(column, name) for name in column.models],
        "teams": [{"name": "research"}],
        "keys": [{"name": "conformance", "team": "research", "secret": KEY, "models": ["*"]}],
    }


def _provider(column):
    keys = [{"name": "first", "secret": column.key}] if column.key else []
    options = {"options": column.options} if column.options else {}
    return {
        "name": column.name,
        "kind": column.kind,
        "base_url": column.base_url,
        "keys": keys or [{"name": "first", "secret": "sk-any-key-will-do"}],
        **options,
    }


def _model(column, name):
    return {
        "name": name,
        "routes": [{"provider": column.name, "upstream_model": name}],
        "prices": [{"from": "2026-01-01", "input": "1", "output": "2"}],
    }
