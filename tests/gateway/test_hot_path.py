"""What a request that has been seen before costs."""

import gc
import threading

import pytest
from django.db.backends.utils import CursorWrapper

from gateway.exchange import Exchange
from registry.models import UpstreamKey
from tests import factories
from tests.fakes.upstream import DONE, HELLO, STOP
from tests.gateway.conftest import known_budgets
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


HI = [{"role": "user", "content": "Hi"}]
CONTENT = {"parts": [{"text": "Hi"}]}
CONTENTS = {"contents": [{"role": "user", **CONTENT}]}
ASKED = {
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": HI, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": HI},
    "/v1/embeddings": {"input": ["Hi", "Ho"]},
    "/v1/rerank": {"query": "Hi", "documents": ["a", "b"]},
    "/v1/moderations": {"input": "Hi"},
    "/v1/images/generations": {"prompt": "Hi"},
    "/v1/audio/speech": {"input": "Hi", "voice": "alloy"},
    "/v1beta/models/echo:generateContent": CONTENTS,
    "/v1beta/models/echo:streamGenerateContent": CONTENTS,
    "/v1beta/models/echo:countTokens": CONTENTS,
    "/v1beta/models/echo:embedContent": {"content": CONTENT},
    "/v1beta/models/echo:batchEmbedContents": {"requests": [{"content": CONTENT}]},
}
STREAMED = ("/v1/completions", "/v1/responses", "/v1/messages")


async def test_no_format_costs_a_known_key_a_statement(courier, key, statements):
    await courier.make(
        lambda: factories.make_model(
            "echo", factories.make_provider("echo", kind="echo", base_url="")
        )
    )
    await courier.post("/v1/responses", {"model": "echo", "input": "Hi"}, key=key)
    statements.clear()

    calls = [*ASKED.items()] + [(path, ASKED[path] | {"stream": True}) for path in STREAMED]
    for path, body in calls:
        reply = await courier.post(path, {"model": "echo", **body}, key=key)

        assert (path, reply.status) == (path, 200), reply.content
        assert (path, for_requests(statements)) == (path, [])


async def test_no_form_costs_a_known_key_a_statement(courier, key, statements):
    await courier.make(
        lambda: factories.make_model(
            "echo", factories.make_provider("echo", kind="echo", base_url="")
        )
    )
    await courier.post("/v1/responses", {"model": "echo", "input": "Hi"}, key=key)
    statements.clear()
    form = (
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\necho\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n123\r\n'
        b"--x--\r\n"
    )

    for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        headers = {"content-type": "multipart/form-data; boundary=x"}
        reply = await courier.request("POST", path, key=key, headers=headers, content=form)

        assert (path, reply.status) == (path, 200), reply.content
        assert (path, for_requests(statements)) == (path, [])


async def test_a_limited_upstream_key_costs_no_statement(chat, courier, statements):
    def limit():
        for key in UpstreamKey.objects.all():
            key.requests_per_minute, key.concurrency, key.budget = 1000, 10, 1000
            key.save()

    await courier.make(limit)
    await known_budgets()
    await chat()
    statements.clear()
    for _ in range(5):
        assert (await chat()).status == 200

    assert for_requests(statements) == []


@pytest.mark.parametrize("wants_stream", [False, True])
async def test_a_request_leaves_nothing_to_the_garbage_collector(chat, upstream, wants_stream):
    await chat()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            if wants_stream:
                upstream.will_answer(HELLO, STOP, DONE)
            assert (await chat(stream=wants_stream)).status == 200
        left = [each for each in gc.get_objects() if isinstance(each, Exchange)]
    finally:
        gc.enable()

    # The one that ended last may still be on its way out.
    assert len(left) <= 1
