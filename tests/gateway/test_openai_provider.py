"""OpenAI and the servers that speak its formats: which format is spoken with whom."""

import pytest

from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_responses import openai_responses
from gateway.kinds import provider_of
from tests.gateway.targets import make_target

SERVERS = ("openai_compatible", "vllm", "ollama")
SPEAKS = {"speaks": ["openai-responses"]}


def spoken(kind, client, **fields):
    return provider_of(kind).dialect_for(client, make_target(kind=kind, **fields))


@pytest.mark.parametrize("client", [openai_chat, openai_responses])
@pytest.mark.parametrize("kind", ["openai", "azure"])
def test_vendors_of_both_formats_are_asked_in_the_clients(kind, client):
    assert spoken(kind, client, upstream_model="gpt-5") is client


@pytest.mark.parametrize("kind", SERVERS)
def test_other_servers_speak_responses_only_if_their_row_says_so(kind):
    assert spoken(kind, openai_responses) is openai_chat
    assert spoken(kind, openai_responses, options=SPEAKS) is openai_responses
    assert spoken(kind, openai_chat, options=SPEAKS) is openai_chat


@pytest.mark.parametrize("kind", ["echo", "chaos"])
def test_the_built_in_ones_speak_chat_completions(kind):
    assert spoken(kind, openai_responses) is openai_chat


@pytest.mark.parametrize(
    "model",
    ["gpt-5-codex", "codex-mini-latest", "o1-pro", "gpt-5.1-pro", "o3-deep-research-2025-06-26"],
)
@pytest.mark.parametrize("kind", ["openai", "azure"])
def test_models_that_are_served_by_responses_only_are_asked_in_it(kind, model):
    assert spoken(kind, openai_chat, upstream_model=model) is openai_responses


@pytest.mark.parametrize("model", ["gpt-4o", "o3", "gpt-5", "my-proto-pro", "o4-mini"])
def test_all_others_are_asked_in_the_clients_format(model):
    assert spoken("openai", openai_chat, upstream_model=model) is openai_chat


@pytest.mark.parametrize("kind", SERVERS)
def test_a_servers_own_models_are_asked_in_the_clients_format(kind):
    assert spoken(kind, openai_chat, upstream_model="our-codex", options=SPEAKS) is openai_chat


@pytest.mark.parametrize(
    ("kind", "options", "keeps"),
    [
        ("openai", {}, True),
        ("azure", {}, True),
        ("openai_compatible", SPEAKS, False),
        ("openai_compatible", {"keeps": ["openai-responses"]}, False),
        ("openai_compatible", {**SPEAKS, "keeps": ["openai-responses"]}, True),
        ("anthropic", {}, False),
    ],
)
def test_answers_are_kept_by_vendors_that_do_and_speak_the_format(kind, options, keeps):
    target = make_target(kind=kind, options=options)

    assert provider_of(kind).keeps_state(openai_responses, target) is keeps
