"""The provider: where Google is asked, and what its errors mean."""

import json

import pytest

from gateway import errors
from gateway.dialects.gemini_embed import gemini_embed, gemini_embed_one
from gateway.dialects.gemini_generate import gemini_generate
from gateway.kinds import provider_of
from gateway.providers.base import Message
from tests.gateway.targets import SECRET, make_target

GEMINI = provider_of("gemini")
BASE = "https://example.com/v1beta"


def url(dialect, model="pro", *, streams=False):
    target = make_target(base_url=BASE, upstream_model=model)
    return GEMINI.request(target, Message(dialect, b"{}", streams)).url.removeprefix(BASE)


def error(status, *, name="", headers=None, details=(), wrap=lambda body: body):
    body = wrap({"error": {"code": status, "message": "No.", "status": name, "details": details}})
    return GEMINI.error(make_target(), status, headers or {}, json.dumps(body).encode())


def detail(kind, **fields):
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


@pytest.mark.parametrize(
    ("dialect", "streams", "path"),
    [
        (gemini_generate, False, "/models/pro:generateContent"),
        (gemini_generate, True, "/models/pro:streamGenerateContent?alt=sse"),
        (gemini_embed, False, "/models/pro:batchEmbedContents"),
        (gemini_embed_one, False, "/models/pro:embedContent"),
    ],
)
def test_the_path_says_what_is_asked(dialect, streams, path):
    assert url(dialect, streams=streams) == path


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/pro", "/models/pro:generateContent"),
        ("tunedModels/mine", "/tunedModels/mine:generateContent"),
        ("a/../b?c", "/models/a%2F..%2Fb%3Fc:generateContent"),
    ],
)
def test_a_model_is_named_with_its_collection(model, path):
    assert url(gemini_generate, model) == path


def test_the_key_goes_in_googles_header():
    assert GEMINI.credentials(make_target()) == {"x-goog-api-key": SECRET}


@pytest.mark.parametrize("reason", ["API_KEY_INVALID", "API_KEY_EXPIRED"])
def test_a_bad_key_is_our_own_fault_though_google_says_400(reason):
    details = [5, detail("ErrorInfo", reason=reason)]

    assert type(error(400, details=details)) is errors.UpstreamAuthFailed


def test_so_is_an_account_that_may_not_be_used_from_here():
    assert type(error(400, name="FAILED_PRECONDITION")) is errors.UpstreamOutOfCredit


def test_other_refusals_are_the_clients_with_googles_name_for_them():
    refused = error(400, name="INVALID_ARGUMENT")

    assert (type(refused), refused.message, refused.code) == (
        errors.UpstreamRejected,
        "No.",
        "INVALID_ARGUMENT",
    )


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [("34.07s", 34.07), ("7s", 7), ("0s", 0), ("soon", None), (7, None), ("-5s", None)],
)
def test_the_time_to_wait_stands_in_the_details(delay, seconds):
    limited = error(429, details=[detail("RetryInfo", retryDelay=delay)])

    assert (type(limited), limited.retry_after) == (errors.UpstreamRateLimited, seconds)


def test_a_header_goes_before_the_details():
    details = [detail("RetryInfo", retryDelay="34s")]

    assert error(429, headers={"retry-after": "5"}, details=details).retry_after == 5


def test_an_error_in_a_list_is_read_too():
    details = [detail("RetryInfo", retryDelay="34s")]

    assert error(429, details=details, wrap=lambda body: [body]).retry_after == 34


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (429, errors.UpstreamRateLimited),
        (503, errors.UpstreamUnavailable),
        (400, errors.UpstreamRejected),
    ],
)
def test_an_error_in_place_of_an_answer_means_what_its_code_says(code, expected):
    failure = gemini_generate.failure_in([{"error": {"code": code, "status": "X", "message": "m"}}])

    assert type(GEMINI.stream_error(make_target(), failure)) is expected
