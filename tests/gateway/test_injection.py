"""S-11 at the API: whatever stands in a header, a field or a query is never part of a statement."""

from urllib.parse import quote

import pytest

from tests import factories
from tests.faults.figures import figure
from tests.gateway.conftest import HELLO
from tests.injections import MARK, PAYLOADS, injected, statements
from tests.soak import trials

__all__ = ["statements"]

CHAT = "/v1/chat/completions"
HEADERS = (
    "user-agent", "x-request-id", "x-courier-tags", "x-courier-session", "traceparent",
    "idempotency-key", "x-forwarded-for", "accept-language", "openai-organization", "referer",
    "anthropic-version", "anthropic-beta", "cookie", "x-client-request-id",
)  # fmt: skip
CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
PATHS = (
    "/v1/models/{}", "/v1/billing/usage?by={}", "/v1/billing/usage?start={}&end={}",
    "/v1/billing/budget?key={}", "/v1/key?fields={}", "/v1beta/models/{}", "/v1/models?after={}",
)  # fmt: skip
SOME = PAYLOADS[:: trials(3, 1)]


def bodies(payload):
    """The payload in each field that Courier reads or keeps."""
    plain = {"model": "tiny", "messages": [HELLO]}
    yield plain | {"user": payload}
    yield plain | {"model": payload}
    yield plain | {"metadata": {payload: payload}}
    yield plain | {"messages": [{"role": "user", "content": payload, "name": payload}]}
    yield plain | {"tools": [{"type": "function", "function": {"name": payload}}]}
    yield plain | {payload: payload}
    for field in ("max_tokens", "n", "stream", "temperature", "stop", "service_tier"):
        yield plain | {field: payload}


@pytest.mark.parametrize("payload", SOME)
async def test_s11_no_request_puts_anything_into_a_statement(courier, key, statements, payload):
    statements.clear()
    replies = [await courier.post(CHAT, body, key=key) for body in bodies(payload)]
    plain = {"model": "tiny", "messages": [HELLO]}
    for name in HEADERS:
        replies.append(await courier.post(CHAT, plain, key=key, headers={name: payload}))
    for path in PATHS:
        filled = path.replace("{}", quote(payload, safe=""))
        replies.append(await courier.request("GET", filled, key=key))

    worst = max(reply.status for reply in replies)
    figure("S-11", f"{len(replies)} requests, worst status {worst}", "no statement changed")
    assert injected(statements) == []
    # Nothing was summed up yet that could be told of.
    untold = {reply.code for reply in replies if reply.status >= 500} - {"ledger_unavailable"}
    assert untold == set()


@pytest.mark.parametrize("payload", SOME)
async def test_s11_a_credential_that_fails_puts_nothing_into_a_statement(
    courier, statements, payload
):
    statements.clear()
    padded = payload.replace(" ", "+").ljust(40, "x")

    replies = [
        await courier.post(CHAT, {}, headers={name: prefix + told})
        for name in CREDENTIALS
        for prefix in ("", "Bearer ", "Bearer sk-courier-")
        for told in (payload, padded)
    ]

    assert injected(statements) == []
    assert {reply.status for reply in replies} <= {400, 401}


async def test_s11_what_was_injected_is_on_record_as_it_was_said(
    courier, key, alpha, upstream, statements
):
    """Through the spool into the ledger, which is written by statements of our own."""
    await courier.make(lambda: factories.make_model(f"*{MARK}*", alpha))
    statements.clear()

    bodies = [{"model": payload, "messages": [HELLO]} for payload in PAYLOADS]
    replies = [await courier.post(CHAT, body, key=key) for body in bodies]
    served = [reply for reply in replies if reply.status == 200]
    records = [await courier.record(reply.request_id) for reply in served]

    assert injected(statements) == []
    assert {record.model_asked for record in records} == set(PAYLOADS)
