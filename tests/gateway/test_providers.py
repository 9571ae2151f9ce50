"""What every kind of provider keeps to, by being registered."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from gateway import errors
from gateway.dialects.anthropic_messages import anthropic_messages
from gateway.dialects.base import Dialect
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_completions import openai_completions
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.kinds import provider_of
from gateway.providers.base import LONGEST_RETRY_AFTER, Message, retry_after
from gateway.providers.openai import OpenAI
from gateway.recovery import Recovery, recovery_from
from registry.kinds import PROVIDER_KINDS
from tests.fakes.upstream import error_body
from tests.gateway.targets import SECRET, make_target

TARGET = make_target()
#: For the kind whose options say what it speaks.
DESCRIPTION = {"request": {"path": "/", "body": {}}, "response": {"text": "text"}}


@pytest.fixture(params=sorted(PROVIDER_KINDS))
def provider(request):
    return provider_of(request.param)


def test_a_provider_knows_its_kind(request, provider):
    assert provider.kind == request.node.callspec.params["provider"]


@pytest.mark.parametrize("status", [301, 401, 402, 403, 404, 408, 418, 429, 500, 503, 529, 599])
def test_an_upstream_error_never_quotes_the_upstream(provider, status):
    content = error_body(f"Incorrect API key provided: {SECRET}. See http://10.0.0.7/")

    error = provider.error(TARGET, status, {}, content)

    assert SECRET not in error.message
    assert "10.0.0.7" not in error.message
    assert recovery_from(error) is not Recovery.NONE


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_a_refusal_of_the_request_is_told_in_the_providers_words(provider, status):
    content = error_body("Too long.", type="x", code="context_length_exceeded")

    error = provider.error(TARGET, status, {}, content)

    assert (error.status, error.message, error.code) == (
        status,
        "Too long.",
        "context_length_exceeded",
    )
    assert recovery_from(error) is Recovery.NONE


@pytest.mark.parametrize("field", ["message", "code", "param"])
def test_a_refusal_never_quotes_couriers_key(provider, field):
    content = error_body().replace(b'"error": {', f'"error": {{"{field}": "{SECRET}", '.encode(), 1)
    content = f'{{"error": {{"{field}": "The key {SECRET} is bad."}}}}'.encode()

    error = provider.error(TARGET, 400, {}, content)

    assert SECRET not in f"{error.message} {error.code} {error.param}"


@pytest.mark.parametrize("told", ["wJalrXUtnFEMI/K7MDENG", "AKIAIOSFODNN7EXAMPLE"])
def test_no_part_of_a_key_of_several_is_quoted_either(provider, told):
    target = make_target(api_key="AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG")

    error = provider.error(target, 400, {}, error_body(f"The key {told} is bad."))

    assert told not in error.message


def test_a_refusal_without_end_is_cut_short(provider):
    error = provider.error(TARGET, 400, {}, error_body("x" * 100_000, code="y" * 100_000))

    assert len(error.message) <= 2000
    assert len(error.code or "") <= 200


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, errors.UpstreamRedirect),
        (401, errors.UpstreamAuthFailed),
        (402, errors.UpstreamOutOfCredit),
        (403, errors.UpstreamForbidden),
        (404, errors.UpstreamModelMissing),
        (408, errors.UpstreamUnavailable),
        (418, errors.UpstreamBadResponse),
        (422, errors.UpstreamRejected),
        (429, errors.UpstreamRateLimited),
        (500, errors.UpstreamUnavailable),
        (529, errors.UpstreamUnavailable),
    ],
)
def test_the_status_decides_what_an_error_means(provider, status, expected):
    assert type(provider.error(TARGET, status, {}, b"")) is expected


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_the_provider_asks_for_is_kept(provider, status):
    assert provider.error(TARGET, status, {"retry-after": "7"}, b"").retry_after == 7


@pytest.mark.parametrize(
    "content",
    [b"", b"not json", b"[]", b'"x"', b'{"error": null}', b'{"error": {"message": 5}}', b"\xff"],
)
def test_a_refusal_that_cannot_be_read_is_still_a_refusal(provider, content):
    error = provider.error(TARGET, 400, {}, content)

    assert (type(error), error.status) == (errors.UpstreamRejected, 400)
    assert error.message


@pytest.mark.parametrize(
    "content",
    [
        b'{"error": "Too long."}',
        b'{"message": "Too long."}',
        b'{"error": {"message": "Too long."}}',
    ],
)
def test_other_shapes_of_a_refusal_are_read_too(provider, content):
    assert provider.error(TARGET, 400, {}, content).message == "Too long."


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        ({"message": "x", "code": 429}, errors.UpstreamRateLimited),
        ({"message": "x", "code": "429"}, errors.UpstreamRateLimited),
        ({"message": "x", "status": 401}, errors.UpstreamAuthFailed),
        ({"message": "x", "code": "overloaded"}, errors.UpstreamUnavailable),
        ({"message": "x", "code": 7}, errors.UpstreamUnavailable),
        ({"message": "x", "code": [400]}, errors.UpstreamUnavailable),
        ({}, errors.UpstreamUnavailable),
    ],
)
def test_an_error_inside_a_stream_means_what_its_code_says(provider, failure, expected):
    assert type(provider.stream_error(TARGET, failure)) is expected


def test_nothing_but_its_own_headers_goes_out(provider):
    headers = provider.headers(TARGET)
    signed = provider.credentials(TARGET)

    assert any(SECRET in value for value in signed.values())
    assert headers["accept-encoding"] == "identity"
    assert headers.keys() == {"content-type", "accept-encoding", "user-agent", *signed}


def test_without_a_key_no_credentials_go_out(provider):
    assert not provider.credentials(make_target(api_key=""))


@pytest.mark.parametrize(
    ("dialect", "path"), [(openai_chat, "/chat/completions"), (openai_embeddings, "/embeddings")]
)
@pytest.mark.parametrize("kind", ["chaos", "echo", "ollama", "openai", "openai_compatible", "vllm"])
def test_each_dialect_has_its_path(kind, dialect, path):
    provider = provider_of(kind)

    assert provider.dialect_for(dialect, TARGET) is dialect
    assert provider.request(TARGET, Message(dialect, b"{}")).url == TARGET.base_url + path


class Unheard(Dialect):
    name = "unheard"
    task = "unheard of"


def test_a_task_that_is_not_offered_has_no_dialect(provider):
    assert provider.dialect_for(Unheard(), TARGET) is None


def test_neither_requests_nor_targets_show_their_secrets(provider):
    target = make_target(options=DESCRIPTION if provider.kind == "generic" else {})
    dialect = next(iter(provider.paths), None) or provider.dialect_for(openai_chat, target)
    request = provider.request(target, Message(dialect, b'{"messages": "a prompt"}'))

    assert SECRET not in f"{request!r} {target!r}"
    assert "a prompt" not in repr(request)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-5", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", LONGEST_RETRY_AFTER),
        ("1e99", LONGEST_RETRY_AFTER),
        ("99999999999999999999", LONGEST_RETRY_AFTER),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_with_care(given, seconds):
    assert retry_after({"retry-after": given}) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1250", "retry-after": "2"}, 1.25),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "soon"}, None),
        ({"retry-after-ms": "", "retry-after": "2"}, 2.0),
    ],
)
def test_a_wait_to_the_millisecond_goes_before_one_to_the_second(headers, seconds):
    assert retry_after(headers) == seconds


def test_a_date_to_retry_after_is_seconds_from_now():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)

    assert retry_after({"retry-after": date}) == pytest.approx(90, abs=2)


class Choosy(OpenAI):
    """A server that speaks one of its formats only where its row says so."""

    optional = (openai_embeddings,)


@pytest.mark.parametrize(
    ("options", "spoken"),
    [
        ({}, None),
        ({"speaks": []}, None),
        ({"speaks": "openai-embeddings"}, None),
        ({"speaks": ["anthropic-messages"]}, None),
        ({"speaks": ["anthropic-messages", "openai-embeddings"]}, openai_embeddings),
    ],
)
def test_an_optional_format_is_spoken_where_the_row_names_it(options, spoken):
    target = make_target(options=options)

    assert Choosy().dialect_for(openai_embeddings, target) is spoken


def test_formats_that_are_not_optional_need_not_be_named():
    assert Choosy().dialect_for(openai_chat, make_target()) is openai_chat


@pytest.mark.parametrize(
    ("kind", "header", "value"),
    [
        ("openai_compatible", "authorization", f"Bearer {SECRET}"),
        ("anthropic", "x-api-key", SECRET),
    ],
)
def test_couriers_key_stands_where_the_vendor_looks_for_it(kind, header, value):
    assert provider_of(kind).credentials(TARGET) == {header: value}


@pytest.mark.parametrize("kind", ["openai_compatible", "vllm", "ollama"])
def test_servers_may_speak_messages_where_their_row_says_so(kind):
    target = make_target(options={"speaks": ["anthropic-messages"]})
    provider = provider_of(kind)

    assert provider.dialect_for(anthropic_messages, target) is anthropic_messages
    assert provider.request(target, Message(anthropic_messages, b"")).url.endswith("/v1/messages")
    assert provider.dialect_for(anthropic_messages, TARGET) is openai_chat


@pytest.mark.parametrize("kind", ["echo", "chaos"])
def test_the_built_in_upstreams_are_told_a_prompt_as_a_message(kind):
    assert provider_of(kind).dialect_for(openai_completions, make_target()) is openai_chat


@pytest.mark.parametrize("kind", ["openai_compatible", "vllm", "ollama"])
def test_compatible_servers_complete_a_prompt(kind):
    spoken = provider_of(kind).dialect_for(openai_completions, make_target())

    assert spoken is openai_completions


def body_of(message, **more):
    return json.dumps({"error": {"message": message, **more}}).encode()


@pytest.mark.parametrize(
    ("kind", "status", "content"),
    [
        ("openai", 400, body_of("Too long.", code="context_length_exceeded")),
        (
            "openai_compatible",
            400,
            body_of("This model's maximum context length is 4096 tokens.", code=400),
        ),
        ("openai_compatible", 400, body_of("It is.", type="exceed_context_size_error", code=400)),
        (
            "anthropic",
            400,
            body_of("prompt is too long: 208310 tokens > 200000 maximum", type="invalid_request"),
        ),
        (
            "anthropic",
            400,
            body_of("input length and `max_tokens` exceed context limit: 199000 + 8000 > 200000"),
        ),
        (
            "gemini",
            400,
            body_of(
                "The input token count (1200000) exceeds the maximum number of tokens allowed "
                "(1048576).",
                code=400,
                status="INVALID_ARGUMENT",
            ),
        ),
        ("bedrock", 400, b'{"message": "Input is too long for requested model."}'),
        ("cohere", 400, b'{"message": "too many tokens: the total must be at most 128000"}'),
    ],
)
def test_a_request_that_is_too_long_is_known_as_such(kind, status, content):
    error = provider_of(kind).error(TARGET, status, {}, content)

    assert type(error) is errors.RequestTooLong


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (
            "azure",
            body_of(
                "The response was filtered due to the prompt triggering the content management "
                "policy.",
                code="content_filter",
            ),
        ),
        ("openai", body_of("Rejected by our safety system.", code="content_policy_violation")),
        ("openai", body_of("Your request was rejected.", code="moderation_blocked")),
        ("anthropic", body_of("Output blocked by content filtering policy")),
        ("bedrock", b'{"message": "Output blocked by content filtering policy"}'),
    ],
)
def test_content_that_a_provider_does_not_allow_is_known_as_such(kind, content):
    error = provider_of(kind).error(TARGET, 400, {}, content)

    assert type(error) is errors.ContentRefused


@pytest.mark.parametrize(
    "message", ["Invalid value for 'temperature'.", "tools.0.name: String should match", None]
)
def test_other_refusals_are_just_that(provider, message):
    error = provider.error(TARGET, 400, {}, body_of(message, code="invalid_value"))

    assert type(error) is errors.UpstreamRejected


def test_a_stream_that_opens_with_such_a_refusal_is_one():
    failure = {"code": "context_length_exceeded", "message": "Too long."}

    error = provider_of("openai").stream_error(TARGET, failure)

    assert (type(error), error.status) == (errors.RequestTooLong, 400)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "model_not_found", errors.UpstreamModelMissing),
        (403, "invalid_api_key", errors.UpstreamAuthFailed),
        (403, "billing_error", errors.UpstreamOutOfCredit),
        (403, None, errors.UpstreamForbidden),
        (429, "insufficient_quota", errors.UpstreamOutOfCredit),
        (429, "rate_limit_exceeded", errors.UpstreamRateLimited),
    ],
)
def test_a_code_tells_the_key_from_its_account_and_from_the_model(status, code, kind):
    provider = provider_of("openai")
    content = error_body("No.", code=code)

    assert type(provider.error(make_target(), status, {}, content)) is kind


def test_a_403_that_is_not_in_the_providers_own_form_is_known_for_that():
    error = provider_of("openai").error(make_target(), 403, {}, b"<html>Blocked</html>")

    assert error.is_in_its_words is False
