"""S-14 and S-17: nothing in a request decides where Courier connects, or has it fetch anything."""

import json

import pytest

from gateway.api import request
from registry.kinds import PROVIDER_KINDS
from tests import factories
from tests.fakes.canary import Canary
from tests.fakes.upstream import completion
from tests.faults.figures import figure
from tests.gateway.conftest import HELLO
from tests.gateway.rough_bodies import REQUESTS
from tests.soak import trials

PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-completions": "/v1/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
    "gemini-generate": "/v1beta/models/{model}:generateContent",
    "openai-embeddings": "/v1/embeddings",
    "gemini-embed-one": "/v1beta/models/{model}:embedContent",
    "gemini-embed": "/v1beta/models/{model}:batchEmbedContents",
    "rerank": "/v1/rerank",
    "openai-moderations": "/v1/moderations",
    "openai-images": "/v1/images/generations",
    "openai-speech": "/v1/audio/speech",
}
#: Of other gateways and of clients' libraries: what has led somewhere else, or shown a key.
STEERING = (
    "api_base", "base_url", "api_url", "url", "endpoint", "azure_endpoint", "target_url", "host",
    "server", "proxy", "proxies", "http_proxy", "callback_url", "callbacks", "success_callback",
    "webhook", "webhook_url", "user_config", "litellm_params", "model_list", "custom_llm_provider",
    "api_key", "headers", "extra_headers", "default_headers", "extra_body", "extra_query",
    "http_client", "client", "transport", "mock_response", "fallbacks", "x-portkey-custom-host",
)  # fmt: skip
HEADERS = (
    "X-Forwarded-Host", "X-Forwarded-For", "X-Original-URL", "X-Rewrite-URL", "X-Base-Url",
    "Helicone-Target-Url", "X-Portkey-Custom-Host", "X-Portkey-Config", "OpenAI-Base-Url",
    "X-Api-Base", "X-Proxy", "Forwarded", "Referer", "X-LiteLLM-Api-Base",
)  # fmt: skip
KINDS = sorted(PROVIDER_KINDS.keys() - {"echo", "chaos", "generic"})
STOLEN = "sk-of-the-client-s-own"


@pytest.fixture
def canary():
    with Canary() as listener:
        yield listener


@pytest.fixture
async def models(courier, upstream):
    """A model of each kind of provider, all of them at the scripted upstream."""
    upstream.always(completion())

    def make():
        for kind in KINDS[:: trials(3, 1)]:
            provider = factories.make_provider(
                kind.replace("_", "-"),
                kind=kind,
                base_url=upstream.url.removesuffix("/v1"),
                options={"region": "eu-west-1"},
            )
            factories.make_upstream_key(provider)
            yield factories.make_model(kind.replace("_", "-"), provider, max_attempts=1).name

    return await courier.make(lambda: list(make()))


def steered(value, canary):
    """The same with every steering field in every object."""
    if isinstance(value, list):
        return [steered(each, canary) for each in value]
    if not isinstance(value, dict):
        return value
    return steering(canary) | steered_inside(value, canary)


def steered_inside(body, canary):
    return {name: steered(each, canary) for name, each in body.items()}


def steering(canary):
    """The fields, as words, as objects and as lists."""
    fields = dict.fromkeys(STEERING, canary.url)
    nested = {"api_base": canary.url, "base_url": canary.url, "api_key": STOLEN}
    fields |= {"api_key": STOLEN, "user_config": {"model_list": [{"litellm_params": nested}]}}
    return fields | {"litellm_params": nested, "fallbacks": [nested], "extra_body": nested}


async def ask(courier, key, dialect, model, body, headers=()):
    path = PATHS[dialect.name].format(model=model)
    body = {**body, **({} if "{model}" in PATHS[dialect.name] else {"model": model})}
    return await courier.post(path, body, key=key, headers=headers)


@pytest.mark.parametrize("dialect", REQUESTS, ids=lambda each: each.name)
async def test_s14_no_field_and_no_header_decides_where_a_request_goes(
    courier, key, models, upstream, canary, dialect
):
    _, body = REQUESTS[dialect]
    headers = dict.fromkeys(HEADERS, canary.url)
    unknown = {name: it for name, it in steering(canary).items() if name not in request.STEERING}
    for model in models:
        for asked in (unknown | body, steered_inside(body, canary)):
            await ask(courier, key, dialect, model, asked, headers)

    figure("S-14", f"{dialect.name}: {len(canary.heard)} connections", "0")
    assert canary.heard == []
    assert {received.headers["host"] for received in upstream.requests} == {
        f"127.0.0.1:{upstream.port}"
    }
    for received in upstream.requests:
        head = json.dumps(received.headers)
        assert STOLEN not in head
        assert str(canary.port) not in head
        assert key.secret not in head


@pytest.mark.parametrize("name", sorted(request.STEERING))
async def test_s14_what_other_gateways_are_steered_by_is_refused_at_the_top(
    courier, key, upstream, canary, name
):
    body = {"model": "tiny", "messages": [HELLO], name: canary.url}
    reply = await courier.post("/v1/chat/completions", body, key=key)

    assert (reply.status, reply.code) == (400, "unsupported_parameter")
    assert (canary.heard, upstream.requests) == ([], [])


def picture(url):
    """A question with a picture at a URL, as clients of each format send it."""
    words = "What is this?"
    parts = {
        "chat": [{"type": "text", "text": words}, {"type": "image_url", "image_url": {"url": url}}],
        "responses": [
            {"type": "input_text", "text": words},
            {"type": "input_image", "image_url": url},
            {"type": "input_file", "file_url": url},
        ],
        "messages": [
            {"type": "text", "text": words},
            {"type": "image", "source": {"type": "url", "url": url}},
            {"type": "document", "source": {"type": "url", "url": url}},
        ],
    }
    google = [{"text": words}, {"fileData": {"fileUri": url, "mimeType": "image/png"}}]
    return {
        "openai-chat": {"messages": [{"role": "user", "content": parts["chat"]}]},
        "openai-responses": {"input": [{"role": "user", "content": parts["responses"]}]},
        "anthropic-messages": {
            "messages": [{"role": "user", "content": parts["messages"]}],
            "max_tokens": 9,
        },
        "gemini-generate": {"contents": [{"role": "user", "parts": google}]},
    }


SHOWN_PICTURES = [dialect for dialect in REQUESTS if dialect.name in picture("")]


@pytest.mark.parametrize("dialect", SHOWN_PICTURES, ids=lambda each: each.name)
async def test_s17_what_a_prompt_points_to_is_passed_on_and_not_fetched(
    courier, key, models, upstream, canary, dialect
):
    url = f"http://127.0.0.1:{canary.port}/picture.png"
    for model in models:
        await ask(courier, key, dialect, model, picture(url)[dialect.name])

    assert canary.heard == []
    assert any(url.encode() in request.body for request in upstream.requests)
