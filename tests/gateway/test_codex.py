"""Codex: streamed Responses only, nothing kept, large instructions, tools with free input.

What it sends is that of codex-rs (codex-api, ResponsesApiRequest), shortened.
"""

import json

import pytest

from tests import factories
from tests.fakes.upstream import DONE, OPENING, frame, usage_chunk
from tests.gateway.validators import openai_responses as validator
from tests.gateway.wire_cases import WIRE

INSTRUCTIONS = "You are Codex, running in a terminal. " * 550
PATCH = '*** Begin Patch\n*** Add File: a.txt\n+"hi"\n*** End Patch'
APPLY_PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Use the `apply_patch` tool to edit files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch hunk+"},
}
SHELL = {
    "type": "function",
    "name": "shell",
    "description": "Runs a shell command and returns its output.",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"command": {"type": "array", "items": {"type": "string"}}},
        "required": ["command"],
        "additionalProperties": False,
    },
}
HEADERS = {
    "originator": "codex_cli_rs",
    "session_id": "0199a000-0000-7000-8000-000000000000",
    "openai-beta": "responses=experimental",
    "accept": "text/event-stream",
}


def said(role, kind, text):
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


ASKED = [
    said("developer", "input_text", "<permissions instructions>…</permissions instructions>"),
    said("user", "input_text", "<environment_context>…</environment_context>"),
    said("user", "input_text", "Add a file."),
]


def chat_calls():
    call = {"index": 0, "id": "call_1", "type": "function"}
    arguments = json.dumps({"input": PATCH})
    deltas = [
        {"reasoning_content": "I add it."},
        {"content": "Adding."},
        {"tool_calls": [{**call, "function": {"name": "apply_patch", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": arguments[:9]}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": arguments[9:]}}]},
    ]
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    ends = [*(({"delta": delta}, None) for delta in deltas), ({"delta": {}}, "tool_calls")]
    for choice, reason in ends:
        yield frame({**head, "choices": [{"index": 0, **choice, "finish_reason": reason}]})


CHAT = [OPENING, *chat_calls(), usage_chunk(20_011, 89), DONE]


def block(index, begin, *deltas):
    yield {"type": "content_block_start", "index": index, "content_block": begin}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def messages_events():
    usage = {"input_tokens": 20_011, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    more = {"stop_reason": None, "stop_sequence": None, "usage": usage}
    yield {"type": "message_start", "message": {**message, **more}}
    yield from block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "I add it."},
        {"type": "signature_delta", "signature": "c2lnbmVk"},
    )
    yield from block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Adding."})
    yield from block(
        2,
        {"type": "tool_use", "id": "call_1", "name": "apply_patch", "input": {}},
        {"type": "input_json_delta", "partial_json": json.dumps({"input": PATCH})},
    )
    delta = {"stop_reason": "tool_use", "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 89}}
    yield {"type": "message_stop"}


MESSAGES = [
    b"event: " + event["type"].encode() + b"\n" + frame(event) for event in messages_events()
]
RESPONSES = [
    frame + b"\n\n"
    for frame in (WIRE / "openai-responses" / "openai-custom-tool.sse").read_bytes().split(b"\n\n")
][:-1]


@pytest.fixture
def codex(courier, key):
    """One turn of Codex: what the stream said, checked, and the items that it is made of."""

    async def turn(items):
        body = {
            "model": "tiny",
            "instructions": INSTRUCTIONS,
            "input": items,
            "tools": [SHELL, APPLY_PATCH, {"type": "web_search", "external_web_access": False}],
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "reasoning": {"effort": "medium", "summary": "auto"},
            "store": False,
            "stream": True,
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": "0199a000-0000-7000-8000-000000000000",
        }
        reply = await courier.post("/v1/responses", body, key=key, headers=HEADERS)
        assert reply.status == 200
        events = [json.loads(data) for data in reply.data]
        done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        # It sends items back without their ids, and a call with what came of it.
        items = [{name: item[name] for name in item if name != "id"} for item in done]
        return reply, items

    return turn


@pytest.fixture
def alpha(request, transactional_db, upstream):
    """A provider of the kind that the test's class names."""
    provider = factories.make_provider("alpha", kind=request.cls.kind, base_url=upstream.url)
    factories.make_upstream_key(provider)
    return provider


OUTPUT = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "Done!"}


class Translated:
    """Of a provider that speaks another format."""

    answer = ()

    async def test_the_answer_is_written_as_openai_would(self, codex, upstream):
        upstream.will_answer(*self.answer)

        reply, items = await codex(ASKED)

        answer = validator.check(reply.content)
        assert (answer.thinking, answer.text) == ("I add it.", "Adding.")
        assert answer.usage == {"input_tokens": 20_011, "output_tokens": 89}
        assert [item["type"] for item in items] == ["reasoning", "message", "custom_tool_call"]
        assert items[2] | {"status": ""} == {
            "type": "custom_tool_call",
            "status": "",
            "call_id": "call_1",
            "name": "apply_patch",
            "input": PATCH,
        }

    async def test_only_the_tool_that_the_provider_lacks_is_dropped(self, codex, upstream):
        upstream.will_answer(*self.answer)

        reply, _ = await codex(ASKED)

        assert reply.headers["x-courier-dropped-params"] == "tools.web_search"

    async def test_a_stream_is_recorded(self, codex, upstream, courier):
        upstream.will_answer(*self.answer)

        reply, _ = await codex(ASKED)

        record = await courier.record(reply.request_id)
        assert (record.operation, record.outcome) == ("responses", "ok")
        assert (record.input_tokens, record.output_tokens) == (20_011, 89)


class TestChat(Translated):
    kind = "openai_compatible"
    answer = CHAT

    async def test_the_next_turn_says_all_that_went_before(self, codex, upstream):
        upstream.will_answer(*CHAT)
        _, items = await codex(ASKED)
        upstream.will_answer(*CHAT)

        await codex([*ASKED, *items, OUTPUT])

        messages = upstream.requests[1]["messages"]
        assert [message["role"] for message in messages] == [
            "system",
            "system",
            "user",
            "user",
            "assistant",
            "tool",
        ]
        assert messages[0]["content"] == INSTRUCTIONS
        (call,) = messages[4]["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"input": PATCH}
        assert messages[5] == {"role": "tool", "tool_call_id": "call_1", "content": "Done!"}

    async def test_the_tools_are_functions(self, codex, upstream):
        upstream.will_answer(*CHAT)

        await codex(ASKED)

        shell, patch = (tool["function"] for tool in upstream.requests[0]["tools"])
        assert shell["parameters"] == SHELL["parameters"]
        assert patch["parameters"]["required"] == ["input"]
        assert "lark" in patch["description"] or "grammar" in patch["description"]


class TestMessages(Translated):
    kind = "anthropic"
    answer = MESSAGES

    async def test_the_next_turn_says_all_that_went_before(self, codex, upstream):
        upstream.will_answer(*MESSAGES)
        _, items = await codex(ASKED)
        upstream.will_answer(*MESSAGES)

        await codex([*ASKED, *items, OUTPUT])

        *_, turn, result = upstream.requests[1]["messages"]
        thinking, text, call = turn["content"]
        assert (thinking["thinking"], thinking["signature"]) == ("I add it.", "c2lnbmVk")
        assert text["text"] == "Adding."
        assert (call["id"], call["input"]) == ("call_1", {"input": PATCH})
        assert result["content"][0]["tool_use_id"] == "call_1"


class TestResponses:
    kind = "azure"

    async def test_the_stream_passes_as_it_is(self, codex, upstream):
        upstream.will_answer(*RESPONSES)

        reply, items = await codex(ASKED)

        assert reply.content == b"".join(RESPONSES)
        assert [item["type"] for item in items] == ["custom_tool_call"]
        assert "x-courier-dropped-params" not in reply.headers

    async def test_the_request_passes_with_its_tools(self, codex, upstream):
        upstream.will_answer(*RESPONSES)

        await codex(ASKED)

        sent = upstream.requests[0]
        assert sent.path == "/v1/openai/v1/responses"
        assert sent["tools"][1:] == [
            APPLY_PATCH,
            {"type": "web_search", "external_web_access": False},
        ]
        assert sent["store"] is False
