"""What a request that has been seen before costs."""

import threading

import pytest
from django.db.backends.utils import CursorWrapper

from usage import budget_keeper


@pytest.fixture(autouse=True)
def _budgets_are_compared_later(monkeypatch):
    """Once a minute, and after a change, budgets are compared with the ledger beside requests."""
    monkeypatch.setattr(budget_keeper, "CHECK_EVERY_S", 60)


@pytest.fixture
def statements(monkeypatch):
    """Every statement of every thread, with the thread's name."""
    seen = []
    for name in ("execute", "executemany"):
        original = getattr(CursorWrapper, name)

        def noting(self, sql, *args, _original=original, **options):
            seen.append((threading.current_thread().name, str(sql)))
            return _original(self, sql, *args, **options)

        monkeypatch.setattr(CursorWrapper, name, noting)
    return seen


def for_requests(statements):
    """The statements that neither ship the log nor look for a new configuration."""
    return [
        sql
        for thread, sql in statements
        if thread != "spool-ship" and "registry_revision" not in sql
    ]


async def test_a_key_is_looked_up_once(chat, statements):
    await chat()

    assert [sql for sql in for_requests(statements) if "accounts_apikey" in sql]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_known_key_costs_no_statement(chat, courier, key, statements, stream):
    await chat()
    statements.clear()

    for _ in range(5):
        reply = await chat(stream=stream)
        await courier.request("GET", "/v1/models", key=key)
        await courier.request("GET", "/v1/key", key=key)

    assert for_requests(statements) == []
    await courier.record(reply.request_id)
    assert ("spool-ship" in {thread for thread, _ in statements}) is True
