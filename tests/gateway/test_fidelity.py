"""All that a client says arrives at a vendor of any format, or is named as left out.

A request says each thing with a value that stands nowhere else in it. Where that value is not in
what the vendor is sent, the client must be told so, by its own name of the field.
"""

import base64
import json

import orjson
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from gateway.dialects.anthropic_messages import anthropic_messages
from gateway.dialects.gemini_generate import gemini_generate
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_completions import openai_completions
from gateway.dialects.openai_responses import openai_responses
from gateway.interpreter import Translated
from gateway.kinds import provider_of
from gateway.question import Question
from registry.capabilities import Capabilities
from registry.generic import examples
from tests.gateway.targets import make_target

PNG = base64.b64encode(b"PNG-of-a-fjord").decode()
PDF = base64.b64encode(b"%PDF-of-a-menu").decode()
URL = "https://images.example/harbour.png"
SCHEMA = {"type": "object", "properties": {"city_sentinel": {"type": "string"}}}
FORM = {"type": "object", "properties": {"form_sentinel": {"type": "string"}},
        "required": ["form_sentinel"], "additionalProperties": False}  # fmt: skip
#: A vendor of each format that knows all that its format knows.
VENDORS = {
    "chat": make_target(upstream_model="llama-4"),
    "responses": make_target(
        kind="openai", upstream_model="gpt-5-codex", capabilities=Capabilities(reasoning=True)
    ),
    "messages": make_target(kind="anthropic", upstream_model="claude-3-7-sonnet"),
    "gemini": make_target(kind="gemini", upstream_model="gemini-2.5-pro"),
    "bedrock": make_target(kind="bedrock", upstream_model="anthropic.claude-3-7-sonnet-v1:0"),
    **{
        f"generic, {each.name}": make_target(
            kind="generic", upstream_model="m", options=orjson.loads(orjson.dumps(each.options))
        )
        for each in examples()
    },
}


def png(mark):
    return base64.b64encode(f"PNG-{mark}".encode()).decode()


CHAT = {
    "model": "tiny",
    "messages": [
        {"role": "system", "content": "system-sentinel"},
        {"role": "developer", "content": "developer-sentinel"},
        {"role": "user", "name": "speaker-sentinel", "content": [
            {"type": "text", "text": "Grüße, 世界 🌊 \u2028 user-sentinel",
             "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": ""},
            {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            {"type": "file", "file": {"filename": "menu.pdf",
                                      "file_data": f"data:application/pdf;base64,{PDF}"}},
        ]},
        {"role": "assistant", "content": "assistant-sentinel", "tool_calls": [
            {"id": "call_a", "type": "function",
             "function": {"name": "weather", "arguments": '{"city_sentinel":"oslo-sentinel"}'}},
            {"id": "call_b", "type": "function",
             "function": {"name": "weather", "arguments": '{"city_sentinel":"rome-sentinel"}'}},
        ]},
        {"role": "tool", "tool_call_id": "call_a", "content": "result-sentinel"},
        {"role": "tool", "tool_call_id": "call_b", "content": ""},
        {"role": "user", "content": "question-sentinel"},
    ],
    "tools": [{"type": "function", "function": {
        "name": "weather", "description": "describes-sentinel", "parameters": SCHEMA,
        "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {
        "name": "form", "schema": FORM, "strict": True}},
    "max_tokens": 64321, "temperature": 0.31, "top_p": 0.97, "top_k": 41, "seed": 77123,
    "presence_penalty": 0.13, "frequency_penalty": 0.17, "stop": ["stop-sentinel"], "n": 3,
    "logprobs": True, "top_logprobs": 7, "logit_bias": {"1234": -7}, "user": "user-4711",
    "reasoning_effort": "high",
}  # fmt: skip

RESPONSES = {
    "model": "tiny",
    "instructions": "system-sentinel",
    "input": [
        {"role": "developer", "content": "developer-sentinel"},
        {"role": "user", "content": [
            {"type": "input_text", "text": "Grüße, 世界 🌊 \u2028 user-sentinel"},
            {"type": "input_text", "text": ""},
            {"type": "input_image", "image_url": URL, "detail": "low"},
            {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
            {"type": "input_file", "filename": "menu.pdf",
             "file_data": f"data:application/pdf;base64,{PDF}"},
        ]},
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": "assistant-sentinel", "annotations": []}]},
        {"type": "function_call", "call_id": "call_a", "name": "weather",
         "arguments": '{"city_sentinel":"oslo-sentinel"}'},
        {"type": "function_call", "call_id": "call_b", "name": "weather",
         "arguments": '{"city_sentinel":"rome-sentinel"}'},
        {"type": "function_call_output", "call_id": "call_a", "output": "result-sentinel"},
        {"type": "function_call_output", "call_id": "call_b", "output": ""},
        {"role": "user", "content": "question-sentinel"},
    ],
    "tools": [{"type": "function", "name": "weather", "description": "describes-sentinel",
               "parameters": SCHEMA, "strict": True}],
    "tool_choice": {"type": "function", "name": "weather"},
    "parallel_tool_calls": False,
    "text": {"format": {"type": "json_schema", "name": "form", "schema": FORM, "strict": True}},
    "max_output_tokens": 64321, "temperature": 0.31, "top_p": 0.97, "top_logprobs": 7,
    "safety_identifier": "user-4711", "reasoning": {"effort": "high"}, "store": False,
}  # fmt: skip

MESSAGES = {
    "model": "tiny",
    "system": [{"type": "text", "text": "system-sentinel"}],
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "Grüße, 世界 🌊 \u2028 user-sentinel",
             "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "url", "url": URL}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            {"type": "document", "title": "menu",
             "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        ]},
        {"role": "assistant", "content": [
            {"type": "text", "text": "assistant-sentinel"},
            {"type": "tool_use", "id": "call_a", "name": "weather",
             "input": {"city_sentinel": "oslo-sentinel"}},
            {"type": "tool_use", "id": "call_b", "name": "weather",
             "input": {"city_sentinel": "rome-sentinel"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_a", "content": "result-sentinel"},
            {"type": "tool_result", "tool_use_id": "call_b", "is_error": True, "content": [
                {"type": "text", "text": "failure-sentinel"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                             "data": png("of-the-failure")}}]},
            {"type": "text", "text": "question-sentinel"},
        ]},
    ],
    "tools": [{"name": "weather", "description": "describes-sentinel", "input_schema": SCHEMA,
               "strict": True}],
    "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    "output_config": {"format": {"type": "json_schema", "schema": FORM}},
    "max_tokens": 64321, "temperature": 0.31, "top_p": 0.97, "top_k": 41,
    "stop_sequences": ["stop-sentinel"], "metadata": {"user_id": "user-4711"},
    "thinking": {"type": "enabled", "budget_tokens": 24576},
}  # fmt: skip

GEMINI = {
    "model": "tiny",
    "systemInstruction": {"parts": [{"text": "system-sentinel"}]},
    "contents": [
        {"role": "user", "parts": [
            {"text": "Grüße, 世界 🌊 \u2028 user-sentinel"},
            {"text": ""},
            {"fileData": {"mimeType": "image/png", "fileUri": URL}},
            {"inlineData": {"mimeType": "image/png", "data": PNG}},
            {"inlineData": {"mimeType": "application/pdf", "data": PDF}},
        ]},
        {"role": "model", "parts": [
            {"text": "assistant-sentinel"},
            {"functionCall": {"id": "call_a", "name": "weather",
                              "args": {"city_sentinel": "oslo-sentinel"}}},
            {"functionCall": {"id": "call_b", "name": "weather",
                              "args": {"city_sentinel": "rome-sentinel"}}},
        ]},
        {"role": "user", "parts": [
            {"functionResponse": {"id": "call_a", "name": "weather",
                                  "response": {"output": "result-sentinel"}}},
            {"functionResponse": {"id": "call_b", "name": "weather",
                                  "response": {"error": "failure-sentinel"}}},
            {"text": "question-sentinel"},
        ]},
    ],
    "tools": [{"functionDeclarations": [
        {"name": "weather", "description": "describes-sentinel", "parametersJsonSchema": SCHEMA}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
    "generationConfig": {
        "maxOutputTokens": 64321, "temperature": 0.31, "topP": 0.97, "topK": 41, "seed": 77123,
        "presencePenalty": 0.13, "frequencyPenalty": 0.17, "stopSequences": ["stop-sentinel"],
        "candidateCount": 3, "responseLogprobs": True, "logprobs": 7,
        "responseMimeType": "application/json", "responseJsonSchema": FORM,
        "thinkingConfig": {"thinkingBudget": 24576, "includeThoughts": True},
    },
}  # fmt: skip

COMPLETIONS = {
    "model": "tiny", "prompt": "user-sentinel", "max_tokens": 64321, "temperature": 0.31,
    "top_p": 0.97, "top_k": 41, "seed": 77123, "presence_penalty": 0.13,
    "frequency_penalty": 0.17, "stop": ["stop-sentinel"], "n": 3, "logit_bias": {"1234": -7},
    "user": "user-4711",
}  # fmt: skip

CLIENTS = {
    openai_chat: CHAT,
    openai_responses: RESPONSES,
    anthropic_messages: MESSAGES,
    gemini_generate: GEMINI,
    openai_completions: COMPLETIONS,
}

#: What each thing that is said looks like in what is sent, and what its fields are called.
WORDS = (
    "system-sentinel", "developer-sentinel", "user-sentinel", "assistant-sentinel",
    "oslo-sentinel", "rome-sentinel", "result-sentinel", "failure-sentinel", "question-sentinel",
    "describes-sentinel", "city_sentinel", "Grüße, 世界 🌊 \u2028",
)  # fmt: skip
NUMBERS = {
    64321: ("max_tokens", "max_output_tokens", "generationConfig.maxOutputTokens"),
    0.31: ("temperature", "generationConfig.temperature"),
    0.97: ("top_p", "generationConfig.topP"),
    41: ("top_k", "generationConfig.topK"),
    77123: ("seed", "generationConfig.seed"),
    0.13: ("presence_penalty", "generationConfig.presencePenalty"),
    0.17: ("frequency_penalty", "generationConfig.frequencyPenalty"),
    3: ("n", "generationConfig.candidateCount"),
    7: ("top_logprobs", "generationConfig.logprobs"),
    -7: ("logit_bias",),
}
TEXTS = {
    "stop-sentinel": ("stop", "stop_sequences", "generationConfig.stopSequences"),
    "user-4711": ("user", "metadata.user_id"),
    "speaker-sentinel": ("name",),
    "form_sentinel": (
        "response_format", "text.format", "output_config.format",
        "generationConfig.responseMimeType",
    ),
    URL: ("image_url", "input_image", "image", "inlineData"),
    PNG: ("image_url", "input_image", "image", "inlineData"),
    PDF: ("file", "input_file", "document", "inlineData"),
    png("of-the-failure"): ("image",),
}  # fmt: skip
#: What an effort of high may become.
EFFORTS = ({"high"}, {16384}, {24576})
EFFORT_NAMES = ("reasoning_effort", "reasoning", "thinking", "reasoning.effort",
                "generationConfig.thinkingConfig")  # fmt: skip
#: What is held to be the fields of a client's own format.
OWN = {
    "openai-chat": {
        *CHAT, "name", "strict", "detail", "cache_control", "image_url", "file", "messages",
    },
    "openai-responses": {
        *RESPONSES, "text.format", "reasoning.effort", "strict", "detail", "input_image",
        "input_file", "user",
    },
    "anthropic-messages": {
        *MESSAGES, "tools.strict", "tool_choice.disable_parallel_tool_use", "cache_control",
        "metadata.user_id", "output_config.format", "image", "document", "messages",
    },
    "gemini-generate": {
        *GEMINI, *(f"generationConfig.{name}" for name in GEMINI["generationConfig"]),
        "inlineData", "fileData",
    },
    "openai-completions": {*COMPLETIONS},
}  # fmt: skip


def sent(client, vendor):
    """What the vendor is sent, and what the client is told was left out."""
    target, body = VENDORS[vendor], CLIENTS[client]
    dialect = provider_of(target.kind).dialect_for(client, target)
    if dialect is openai_completions:
        dialect = openai_chat
    asked = Translated(Question(client, "tiny", orjson.dumps(body), body), target, client, dialect)
    return orjson.loads(asked.message().body), asked.drops.names


def values_in(value):
    """All numbers and texts in it; keys of objects are texts."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from values_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from values_in(inner)
    else:
        yield value


every_pair = pytest.mark.parametrize(
    ("client", "vendor"),
    [pytest.param(c, v, id=f"{c.name} to {v}") for c in CLIENTS for v in VENDORS],
)


@every_pair
def test_what_is_said_arrives(client, vendor):
    asked = json.dumps(CLIENTS[client], ensure_ascii=False)
    body, dropped = sent(client, vendor)

    told = json.dumps(body, ensure_ascii=False)
    missing = [word for word in WORDS if word in asked and word not in told]
    # Who has no tools is told so as a whole.
    assert not missing or {"tools", "messages", "input", "contents"} & set(dropped), missing


@every_pair
def test_a_number_arrives_or_is_named(client, vendor):
    body, dropped = sent(client, vendor)

    asked, told = list(values_in(CLIENTS[client])), list(values_in(body))
    for number, names in NUMBERS.items():
        if number in asked:
            assert number in told or set(names) & set(dropped), (number, dropped)


@every_pair
def test_a_text_arrives_or_is_named(client, vendor):
    asked = json.dumps(CLIENTS[client])
    body, dropped = sent(client, vendor)

    told = json.dumps(body)
    for text, names in TEXTS.items():
        if text in asked:
            assert text in told or set(names) & set(dropped), (text, dropped)


@every_pair
def test_how_much_to_think_arrives_or_is_named(client, vendor):
    if client is openai_completions:
        return
    body, dropped = sent(client, vendor)

    told = set(map(repr, values_in(body)))
    arrived = any({repr(each) for each in effort} <= told for effort in EFFORTS)
    assert arrived or set(EFFORT_NAMES) & set(dropped), (body, dropped)


@every_pair
def test_what_is_left_out_is_called_as_the_client_calls_it(client, vendor):
    _, dropped = sent(client, vendor)

    assert set(dropped) <= OWN[client.name]


@every_pair
def test_a_mark_for_the_cache_arrives_or_is_named(client, vendor):
    if "cache_control" not in json.dumps(CLIENTS[client]):
        return
    body, dropped = sent(client, vendor)

    told = json.dumps(body)
    assert "cache_control" in told or "cachePoint" in told or "cache_control" in dropped


@every_pair
def test_a_strict_tool_arrives_or_is_named(client, vendor):
    given = CLIENTS[client].get("tools", [{}])[0]
    if not (given.get("strict") or given.get("function", {}).get("strict")):
        return
    body, dropped = sent(client, vendor)

    strict = [True for tool in body.get("tools", []) if '"strict": true' in json.dumps(tool)]
    strict += ['"strict": true' in json.dumps(body.get("toolConfig", {}))]
    assert any(strict) or {"strict", "tools.strict", "tools"} & set(dropped)


@every_pair
def test_that_a_tool_failed_arrives(client, vendor):
    if "failure-sentinel" not in json.dumps(CLIENTS[client]):
        return
    body, dropped = sent(client, vendor)

    told = json.dumps(body)
    signs = ('"is_error": true', '"status": "error"', '{"error": ', "Error: ")
    assert any(sign in told for sign in signs) or {"messages", "contents"} & set(dropped)


@pytest.mark.parametrize(
    ("vendor", "form"),
    [("chat", CompletionCreateParamsNonStreaming), ("responses", ResponseCreateParamsNonStreaming)],
)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_what_is_sent_is_what_openais_sdk_would_send(client, vendor, form):
    body, _ = sent(client, vendor)

    adapter = TypeAdapter(form)  # lists are checked by it for as long as they are read
    exhaust(adapter.validate_python(body))


def exhaust(validated):
    """Have lists checked to their end: as iterables they are checked while they are read."""
    if isinstance(validated, dict):
        for inner in validated.values():
            exhaust(inner)
    elif isinstance(validated, list) or type(validated).__name__ == "ValidatorIterator":
        for inner in validated:
            exhaust(inner)
