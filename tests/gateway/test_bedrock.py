"""Amazon Bedrock: where, how signed, and what its errors mean."""

import json

import pytest

from gateway import errors
from gateway import upstream as connections
from gateway.dialects.bedrock_converse import bedrock_converse
from gateway.kinds import provider_of
from gateway.providers.base import Message
from gateway.recovery import Recovery, recovery_from
from tests import factories
from tests.fakes.event_stream import event
from tests.fakes.signature import scope_of
from tests.fakes.upstream import HEARD
from tests.gateway.targets import make_target
from tests.gateway.wire_cases import WIRE

bedrock = provider_of("bedrock")
KEY_ID = "AKIDEXAMPLEEXAMPLE12"
KEY_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ACCESS_KEY = f"{KEY_ID}:{KEY_SECRET}"
MODEL = "anthropic.claude-3-5-sonnet-20240620-v1:0"
PROFILE = f"arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.{MODEL}"


@pytest.fixture(autouse=True)
async def _close_connections():
    yield
    await connections.close()


def target_at(url="https://bedrock-runtime.eu-central-1.amazonaws.com", **fields):
    defaults = {"upstream_model": MODEL, "options": {"region": "eu-central-1"}}
    return make_target(kind="bedrock", base_url=url, **{**defaults, **fields})


def request_for(target, body=b'{"messages":[]}', *, streams=False):
    return bedrock.request(target, Message(bedrock_converse, body, streams))


async def arrived(upstream, target, **how):
    """The request as it came over the wire."""
    upstream.will_answer(b"{}")
    await (await connections.send(request_for(target, **how), target)).finish()
    return upstream.requests[-1]


@pytest.mark.parametrize("model", [MODEL, PROFILE, "meta.llama3-1-8b-instruct-v1:0", "a b~c"])
@pytest.mark.parametrize("streams", [False, True])
async def test_what_is_signed_is_what_arrives(upstream, model, streams):
    target = target_at(upstream.url, upstream_model=model, api_key=ACCESS_KEY)

    request = await arrived(upstream, target, body='{"a":"ü"}'.encode(), streams=streams)

    assert scope_of(request, KEY_SECRET) == (KEY_ID, "eu-central-1", "bedrock")


async def test_a_sessions_token_is_sent_and_signed(upstream):
    target = target_at(upstream.url, api_key=f"{ACCESS_KEY}:FwoGZXIvYXdzEB/+==")

    request = await arrived(upstream, target)

    assert request.headers["x-amz-security-token"] == "FwoGZXIvYXdzEB/+=="
    assert "x-amz-security-token" in request.headers["authorization"]
    scope_of(request, KEY_SECRET)


async def test_the_body_is_signed(upstream):
    request = await arrived(upstream, target_at(upstream.url, api_key=ACCESS_KEY))

    with pytest.raises(AssertionError):
        scope_of(type(request)(**{**_fields(request), "body": b"{}"}), KEY_SECRET)


def _fields(request):
    return {name: getattr(request, name) for name in request.__dataclass_fields__}


async def test_an_api_key_is_a_bearer_token_and_nothing_is_signed(upstream):
    request = await arrived(upstream, target_at(upstream.url, api_key="bedrock-api-key-YmVk"))

    assert request.headers["authorization"] == "Bearer bedrock-api-key-YmVk"
    assert "x-amz-date" not in request.headers


@pytest.mark.parametrize(("streams", "end"), [(False, "/converse"), (True, "/converse-stream")])
def test_the_path_says_whether_it_streams(streams, end):
    assert request_for(target_at(), streams=streams).url.endswith(end)


def test_the_name_of_a_model_is_one_part_of_the_path():
    url = request_for(target_at(upstream_model=PROFILE)).url

    name = f"arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Feu.{MODEL}"
    assert url.endswith("/model/" + name.replace(":0", "%3A0") + "/converse")


@pytest.mark.parametrize(
    "url",
    [
        "https://bedrock-runtime.us-west-2.amazonaws.com",
        "https://bedrock-runtime-fips.us-west-2.amazonaws.com",
        "https://vpce-0a1b2c3d-abcd1234.bedrock-runtime.us-west-2.vpce.amazonaws.com",
    ],
)
def test_without_an_option_the_host_says_the_region(url):
    headers = request_for(target_at(url, api_key=ACCESS_KEY, options={})).headers

    assert "/us-west-2/bedrock/aws4_request" in headers["authorization"]


def test_without_any_region_nothing_can_be_signed():
    with pytest.raises(errors.NoAvailableTarget):
        request_for(target_at("https://llm.example.com", api_key=ACCESS_KEY, options={}))


def test_no_secret_is_shown():
    request = request_for(target_at(api_key=ACCESS_KEY))

    assert KEY_SECRET not in f"{request!r} {request.headers}"


def test_a_model_that_failed_is_asked_again():
    error = bedrock.error(target_at(), 424, {}, b'{"message": "secret words"}')

    assert type(error) is errors.UpstreamUnavailable
    assert "secret words" not in error.message


def test_a_quota_that_is_used_up_is_not_the_clients_fault():
    told = {"x-amzn-errortype": "ServiceQuotaExceededException:http://internal.amazon.com/"}

    error = bedrock.error(target_at(), 400, told, b'{"message": "Too many."}')

    assert recovery_from(error) is Recovery.PAUSE


def test_a_refused_request_is_told_in_its_own_words():
    told = {"x-amzn-errortype": "ValidationException:http://internal.amazon.com/"}

    error = bedrock.error(target_at(), 400, told, b'{"message": "Input is too long."}')

    assert (type(error), error.message) == (errors.RequestTooLong, "Input is too long.")


# Through all of Courier


@pytest.fixture
async def conversing(courier, upstream):
    """A model `told` whose only provider is this one, at the scripted upstream."""

    def rows():
        provider = factories.make_provider(
            kind="bedrock", base_url=upstream.url, options={"region": "eu-central-1"}
        )
        factories.make_upstream_key(provider, ACCESS_KEY)
        model = factories.make_model("told")
        factories.make_route(model, provider, upstream_model=PROFILE)
        factories.make_price(model, input="1", output="2")

    await courier.make(rows)


STREAM = (WIRE / "bedrock-converse" / "cache-writes-of-both-lives.stream").read_bytes()
IN_PIECES = [STREAM[start : start + 50] for start in range(0, len(STREAM), 50)]
BINARY = {"content-type": "application/vnd.amazon.eventstream"}


async def test_a_stream_is_told_in_the_clients_format(chat, upstream, conversing, courier):
    upstream.will_answer(*IN_PIECES, headers=BINARY)

    reply = await chat(model="told", stream=True, stream_options={"include_usage": True})

    chunks = [json.loads(data) for data in reply.data[:-1]]
    words = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(filter(None, words)) == "Noted."
    assert chunks[-1]["usage"]["prompt_tokens"] == 3307
    assert upstream.requests[-1].path.endswith("/converse-stream")
    scope_of(upstream.requests[-1], KEY_SECRET)
    record = await courier.last_record()
    assert (record.cached_input_tokens, record.cache_write_1h_tokens) == (1000, 1300)


async def test_a_stream_that_is_damaged_on_its_way_ends_with_an_error(chat, upstream, conversing):
    begun = event("contentBlockDelta", contentBlockIndex=0, delta={"text": "Once"})
    damaged = bytearray(event("messageStop", stopReason="end_turn"))
    damaged[-1] ^= 1
    upstream.will_answer(begun, HEARD, bytes(damaged), headers=BINARY)

    reply = await chat(model="told", stream=True)

    assert reply.failure["code"] == "upstream_bad_response"


async def test_a_stream_that_is_throttled_at_once_is_a_clean_429(chat, upstream, conversing):
    first = (WIRE / "bedrock-converse" / "throttled-at-once.stream").read_bytes()
    for _ in range(3):
        upstream.will_answer(first, headers=BINARY)

    reply = await chat(model="told", stream=True)

    assert (reply.status, reply.code) == (429, "upstream_rate_limited")


async def test_what_bedrock_has_no_place_for_is_told_in_a_header(chat, upstream, conversing):
    upstream.will_answer((WIRE / "bedrock-converse" / "plain-whole.json").read_bytes())

    reply = await chat(model="told", seed=7)

    assert reply.json["choices"][0]["message"]["content"] == "Grüße aus Zürich."
    assert reply.headers["x-courier-dropped-params"] == "seed"
