"""Whatever a client sends, it is told what is wrong with it, or its provider is asked."""

import orjson
import pytest
from hypothesis import given, settings

from gateway import metering
from gateway.api.request import read_as
from gateway.batches import _parts_of
from gateway.dialects.base import Batched
from gateway.interpreter import interpreter
from gateway.kinds import provider_of
from gateway.question import Question
from lib.errors import CourierError
from registry.capabilities import TRAITS, Capabilities
from registry.generic import examples
from registry.kinds import PROVIDER_KINDS
from tests.gateway.rough_bodies import REQUESTS, SEEDS, spoilt
from tests.gateway.targets import make_target

ABLE = {"speaks": ["openai-responses", "anthropic-messages"], "region": "eu-west-1"}
UNABLE = Capabilities(**dict.fromkeys(TRAITS, False), output_limit=5)
MODELS = ("model", "gpt-5-pro", "claude-opus-4-1", "gemini-2.5-pro")
OF_MANY_KINDS = [
    *(make_target(kind=kind, options=ABLE, upstream_model=name) for kind in PROVIDER_KINDS
      if kind != "generic" for name in MODELS),
    *(make_target(kind=kind, options=ABLE, capabilities=UNABLE) for kind in PROVIDER_KINDS
      if kind != "generic"),
    *(make_target(kind="generic", options=example.options) for example in examples()),
]  # fmt: skip


def asked(dialect, seed, *, stream=False):
    """A question, or None if its body is refused at once."""
    schema, body = REQUESTS[dialect]
    body = orjson.loads(orjson.dumps(spoilt(body, seed)))
    try:
        read_as(schema, body)
    except CourierError:
        return None
    return Question(dialect, "tiny", orjson.dumps(body), body, stream)


@pytest.mark.parametrize("dialect", REQUESTS, ids=lambda each: each.name)
@given(seed=SEEDS)
@settings(max_examples=60)
def test_a_request_can_be_estimated_and_counted(dialect, seed):
    question = asked(dialect, seed)
    if question is None:
        return
    body = question.body

    numbers = (
        dialect.input_estimate(body),
        dialect.output_bound(body),
        dialect.usual_output(body, 4096),
        dialect.images_asked(body),
        dialect.searches_asked(body),
        metering.metered(question, None, "words", "gpt-4o").usage.total_tokens,
    )
    assert all(type(number) is int and number >= 0 for number in numbers)


@pytest.mark.parametrize("dialect", REQUESTS, ids=lambda each: each.name)
@given(seed=SEEDS)
@settings(max_examples=60)
def test_a_request_is_written_for_every_provider_or_refused(dialect, seed):
    question = asked(dialect, seed, stream=dialect.task == "chat" and seed % 2 == 0)
    if question is None:
        return

    for target in OF_MANY_KINDS[seed % 5 :: 5]:
        try:
            between = interpreter(question, target)
            provider_of(target.kind).request(target, between.message())
        except CourierError:
            pass


@pytest.mark.parametrize(
    "dialect", [each for each in REQUESTS if isinstance(each, Batched)], ids=lambda each: each.name
)
@given(seed=SEEDS)
@settings(max_examples=60)
def test_a_request_can_be_put_in_parts(dialect, seed):
    question = asked(dialect, seed)

    try:
        parts = _parts_of(question, dialect, 1) if question else ()
    except CourierError:
        parts = ()

    assert len(parts) == (dialect.inputs_asked(question.body) if parts else 0)


#: Every path that takes JSON, and what a client of the format reads of an error.
ERRORS = {
    "/v1/chat/completions": lambda told: told["error"]["message"],
    "/v1/completions": lambda told: told["error"]["message"],
    "/v1/responses": lambda told: told["error"]["message"],
    "/v1/embeddings": lambda told: told["error"]["message"],
    "/v1/moderations": lambda told: told["error"]["message"],
    "/v1/images/generations": lambda told: told["error"]["message"],
    "/v1/audio/speech": lambda told: told["error"]["message"],
    "/v1/rerank": lambda told: told["detail"],
    "/v2/rerank": lambda told: told["message"],
    "/v1/messages": lambda told: told["type"] == "error" and told["error"]["message"],
    "/v1/messages/count_tokens": lambda told: told["type"] == "error" and told["error"]["message"],
    "/v1beta/models/tiny:generateContent": lambda told: told["error"]["message"],
    "/v1beta/models/tiny:streamGenerateContent": lambda told: told["error"]["message"],
    "/v1beta/models/tiny:countTokens": lambda told: told["error"]["message"],
    "/v1beta/models/tiny:embedContent": lambda told: told["error"]["message"],
    "/v1beta/models/tiny:batchEmbedContents": lambda told: told["error"]["message"],
}


async def test_a_body_that_is_too_deep_is_refused_in_every_format(courier, key):
    for path, message in ERRORS.items():
        for levels in (129, 300, 1000):
            body = b'{"model":"tiny","tools":' + b"[" * levels + b"]" * levels + b"}"
            reply = await courier.request("POST", path, key=key, content=body)

            assert (path, levels, reply.status) == (path, levels, 400)
            assert "levels deep" in message(reply.json)


async def test_numbers_and_words_that_are_none_are_refused_in_every_format(courier, key):
    for path, message in ERRORS.items():
        for broken in (b'{"model":"tiny","n":1e999}', b'{"model":"\\ud800"}', b"[]", b"\xff"):
            reply = await courier.request("POST", path, key=key, content=broken)

            assert (path, reply.status) == (path, 400)
            assert message(reply.json)


@pytest.mark.parametrize("field", ["Model", "API_BASE", "max_token\u017f", "N"])
async def test_a_field_that_some_servers_read_as_another_is_refused(courier, key, upstream, field):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], field: "other"}

    reply = await courier.post("/v1/chat/completions", body, key=key)

    assert (reply.status, reply.code) == (400, "unsupported_parameter")
    assert reply.error["param"] == field
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "n": "8"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "n": True}),
        ("/v1/completions", {"prompt": "Hi", "n": "8"}),
        ("/v1/completions", {"prompt": "Hi", "best_of": "8"}),
    ],
)
async def test_how_many_answers_are_asked_for_is_a_number(courier, key, upstream, path, asked):
    """Some servers read a number in a text, and then more would come than was held for."""
    reply = await courier.post(path, {"model": "tiny", **asked}, key=key)

    assert reply.status == 400
    assert upstream.requests == []
