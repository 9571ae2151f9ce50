"""Azure: where, signed how, and what its errors mean."""

import json

import pytest

from gateway import errors
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.dialects.openai_responses import openai_responses
from gateway.kinds import provider_of
from gateway.providers.base import Message
from tests.gateway.targets import SECRET, make_target

AZURE = "https://acme.openai.azure.com"


@pytest.fixture
def azure():
    return provider_of("azure")


def target(base_url=AZURE, *, model="our gpt/4o", **fields):
    return make_target(kind="azure", base_url=base_url, upstream_model=model, **fields)


@pytest.mark.parametrize("form", ["", "/openai", "/openai/v1"])
@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        (openai_chat, "/chat/completions"),
        (openai_responses, "/responses"),
        (openai_embeddings, "/embeddings"),
    ],
)
def test_the_v1_api_is_called_whichever_address_is_given(azure, form, dialect, path):
    request = azure.request(target(AZURE + form), Message(dialect, b"{}"))

    assert request.url == f"{AZURE}/openai/v1{path}"


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        (openai_chat, "/openai/deployments/our%20gpt%2F4o/chat/completions"),
        (openai_embeddings, "/openai/deployments/our%20gpt%2F4o/embeddings"),
        (openai_responses, "/openai/responses"),
    ],
)
def test_with_a_version_the_deployment_stands_in_the_path(azure, dialect, path):
    old = target(AZURE + "/openai/v1", options={"api_version": "2024-10-21"})

    url = azure.request(old, Message(dialect, b"{}")).url

    assert url == f"{AZURE}{path}?api-version=2024-10-21"


def test_a_key_goes_into_azures_own_header(azure):
    headers = azure.headers(target())

    assert headers["api-key"] == SECRET
    assert "authorization" not in headers


def test_a_token_goes_where_tokens_go(azure):
    token = "eyJ0eXAiOiJKV1Qi.eyJhdWQiOiJ4In0.c2lnbmF0dXJl"

    headers = azure.headers(target(api_key=token))

    assert headers["authorization"] == f"Bearer {token}"
    assert "api-key" not in headers


def test_what_its_content_filter_refuses_is_told_in_its_words(azure):
    content = {
        "error": {
            "message": "The response was filtered due to the prompt triggering a policy.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
        }
    }

    error = azure.error(target(), 400, {}, json.dumps(content).encode())

    assert (type(error), error.status) == (errors.ContentRefused, 400)
    assert (error.code, error.param) == ("content_filter", "prompt")
    assert error.message.startswith("The response was filtered")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, {"error": {"code": "DeploymentNotFound"}}, errors.UpstreamModelMissing),
        (404, {"error": {"code": "404", "message": "Not found"}}, errors.UpstreamModelMissing),
        (401, {"error": {"code": "401", "message": "Access denied"}}, errors.UpstreamAuthFailed),
        (401, {"statusCode": 401, "message": "Unauthorized."}, errors.UpstreamAuthFailed),
        (403, {"error": {"code": "403", "message": "Firewall"}}, errors.UpstreamForbidden),
        (429, {"error": {"code": "429"}}, errors.UpstreamRateLimited),
        (424, {"error": {"code": "424"}}, errors.UpstreamBadResponse),
        (503, {}, errors.UpstreamUnavailable),
    ],
)
def test_its_errors_mean_what_their_status_says(azure, status, body, expected):
    assert type(azure.error(target(), status, {}, json.dumps(body).encode())) is expected


def test_its_wait_is_kept_to_the_millisecond(azure):
    headers = {"retry-after": "2", "retry-after-ms": "1250"}

    assert azure.error(target(), 429, headers, b"{}").retry_after == 1.25


def test_it_keeps_answers_to_go_on_from(azure):
    assert azure.keeps_state(openai_responses, target())
