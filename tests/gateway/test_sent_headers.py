"""What a provider is told beside the body: these headers and no others."""

from registry.kinds import PROVIDER_KINDS
from tests import factories
from tests.gateway.conftest import HELLO

#: What a client sends and no provider may see, nor be changed by.
HOSTILE = {
    "cookie": "session=canary",
    "forwarded": "for=canary",
    "x-forwarded-for": "203.0.113.7",
    "x-forwarded-host": "canary.example.com",
    "x-forwarded-proto": "canary",
    "x-real-ip": "203.0.113.7",
    "via": "1.1 canary",
    "te": "trailers",
    "trailer": "canary",
    "connection": "keep-alive, x-canary",
    "x-canary": "canary",
    "keep-alive": "timeout=9",
    "proxy-authorization": "Basic canary",
    "proxy-connection": "canary",
    "authorization-extra": "canary",
    "x-api-key-extra": "canary",
    "api-version": "canary",
    "openai-organization": "canary",
    "openai-project": "canary",
    "anthropic-dangerous-direct-browser-access": "true",
    "x-goog-user-project": "canary",
    "x-amz-security-token": "canary",
    "x-amz-date": "canary",
    "user-agent": "canary/1.0",
    "accept": "text/canary",
    "accept-language": "canary",
    "referer": "https://canary.example.com",
    "origin": "https://canary.example.com",
    "x-request-id": "canary",
    "x-stainless-lang": "canary",
    "range": "bytes=0-1",
    "if-none-match": "canary",
    "expect-ct": "canary",
    "host-override": "canary.example.com",
    "x-http-method-override": "DELETE",
    "x-original-url": "/canary",
}
PLAIN = {"host", "accept", "accept-encoding", "content-length", "content-type", "user-agent"}
#: What says who is calling, by kind, and what a vendor's format demands.
ALSO = {
    "anthropic": {"x-api-key", "anthropic-version"},
    "azure": {"api-key"},
    "gemini": {"x-goog-api-key"},
}
#: What each kind answers one of.
ASKED = {"/v1/chat/completions": {"messages": [HELLO]}, "/v1/embeddings": {"input": "x"}}
#: These call nobody, or what their options say.
NOT_CALLED = {"echo", "chaos", "generic"}


async def test_s18_a_provider_of_any_kind_sees_these_headers_only(courier, key, upstream):
    kinds = sorted(set(PROVIDER_KINDS) - NOT_CALLED)

    def rows():
        for kind in kinds:
            options = {"region": "eu-west-1"} if kind.startswith("bedrock") else {}
            provider = factories.make_provider(
                kind, kind=kind, base_url=upstream.url, options=options
            )
            factories.make_upstream_key(provider)
            model = factories.make_model(f"of-{kind}", priced=False)
            factories.make_route(model, provider, upstream_model="m")
            factories.make_price(model, input="1", output="1")

    await courier.make(rows)
    for kind in kinds:
        seen = len(upstream.requests)
        for path, body in ASKED.items():
            headers = {**HOSTILE, "idempotency-key": f"canary-{kind}-{len(path)}"}
            body = {"model": f"of-{kind}", **body}
            upstream.will_answer(b"{}", status=400)
            await courier.post(path, body, key=key, headers=headers)
        (sent, *_) = upstream.requests[seen:]
        allowed = PLAIN | ALSO.get(kind, {"authorization"})
        assert (kind, set(sent.headers) - allowed) == (kind, set())
        assert "canary" not in str(dict(sent.headers))


async def test_s18_what_a_format_passes_on_is_printable(courier, key, upstream):
    def rows():
        provider = factories.make_provider("claude", kind="anthropic", base_url=upstream.url)
        factories.make_upstream_key(provider)
        model = factories.make_model("claude", priced=False)
        factories.make_route(model, provider, upstream_model="m")
        factories.make_price(model, input="1", output="1")

    await courier.make(rows)
    body = {"model": "claude", "messages": [HELLO], "max_tokens": 5}
    for beta in ("fine-2026", "Å", "x" * 5000):
        headers = {"anthropic-beta": beta.encode()}
        upstream.will_answer(b"{}", status=400)
        await courier.post("/v1/messages", body, key=key, headers=headers)

    told = [each.headers.get("anthropic-beta") for each in upstream.requests]
    assert [each for each in told if each not in {None, "fine-2026"}] == []
    assert "fine-2026" in told
