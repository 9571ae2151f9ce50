"""An agent that speaks Messages, before a vendor of its own format and before others'."""

import json

import pytest

from tests import factories
from tests.fakes.upstream import DONE, OPENING, chunk, completion, frame, usage_chunk, usage_of
from tests.gateway.anthropic_streams import stream_of
from tests.gateway.validators import anthropic_messages as validator

EPHEMERAL = {"type": "ephemeral"}
SYSTEM = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.0; cch=12345;"},
    {"type": "text", "text": "You are an agent for the command line.", "cache_control": EPHEMERAL},
    {"type": "text", "text": "How to work. " * 2000,
     "cache_control": EPHEMERAL | {"ttl": "1h"}},
]  # fmt: skip
TOOLS = [
    {
        "name": name,
        "description": f"{name}s. " * 40,
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}},
                         "required": ["path"], "$schema": "http://json-schema.org/draft-07/schema#"},
        "eager_input_streaming": True,
    }
    for name in ("Read", "Edit", "Bash")
]  # fmt: skip
TURNS = [
    {"role": "user", "content": [
        {"type": "text", "text": "<system-reminder>Today is Monday.</system-reminder>"},
        {"type": "text", "text": "What is in a.txt and b.png?"},
    ]},
    {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "Look.", "signature": "EqQB"},
        {"type": "text", "text": "I'll look."},
        {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a.txt"}},
        {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {"path": "b.png"}},
    ]},
    {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "No such file.",
         "is_error": True},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                         "data": "iVBORw0KGgo="}}
        ], "cache_control": EPHEMERAL},
    ]},
]  # fmt: skip
AGENTS = {
    "model": "tiny",
    "max_tokens": 32000,
    "stream": True,
    "system": SYSTEM,
    "tools": TOOLS,
    "messages": TURNS,
    "thinking": {"type": "adaptive"},
    "temperature": 1,
    "metadata": {"user_id": "user_" + "a" * 64 + "_account_b_session_c"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
}
BETAS = "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27"


@pytest.fixture
def agent(key, courier):
    """Ask as the agent does."""

    async def ask(**body):
        headers = {
            "authorization": f"Bearer {key.secret}",
            "anthropic-version": "2023-06-01",
            "anthropic-beta": BETAS,
            "x-app": "cli",
            "x-stainless-retry-count": "0",
        }
        return await courier.post("/v1/messages?beta=true", AGENTS | body, headers=headers)

    return ask


@pytest.fixture
async def native(courier, alpha):
    """The model `tiny` is at a vendor that speaks the agent's format."""
    alpha.kind = "anthropic"
    await courier.make(alpha.save)


def calls(*fragments):
    """A chunk with pieces of calls: index, id, name and arguments."""
    told = [
        {"index": index, **({"id": made, "type": "function"} if made else {}),
         "function": {**({"name": name} if name else {}), "arguments": arguments}}
        for index, made, name, arguments in fragments
    ]  # fmt: skip
    choice = {"index": 0, "delta": {"tool_calls": told}, "finish_reason": None}
    return frame({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                  "choices": [choice]})  # fmt: skip


ANSWER = (
    OPENING,
    chunk("I'll read both."),
    calls((0, "call_a", "Read", "")),
    calls((0, "", "", '{"path": ')),
    calls((1, "call_b", "Read", '{"pa')),
    calls((0, "", "", '"a"}'), (1, "", "", 'th": "b"}')),
    chunk(finish="tool_calls"),
    usage_chunk(24_000, 60, prompt_tokens_details={"cached_tokens": 20_000}),
    DONE,
)


@pytest.mark.usefixtures("native")
async def test_a_vendor_of_its_own_format_is_asked_in_the_agents_very_words(agent, upstream):
    upstream.will_answer(*stream_of("Done."))

    reply = await agent()

    sent = upstream.requests[0]
    assert sent.json == AGENTS | {"model": "alpha-tiny"}
    assert sent.headers["anthropic-beta"] == BETAS
    assert reply.content == b"".join(stream_of("Done."))
    assert "x-courier-dropped-params" not in reply.headers


async def test_another_vendor_is_asked_for_the_same(agent, upstream):
    upstream.will_answer(*ANSWER)

    reply = await agent()

    sent = upstream.requests[0]
    roles = [message["role"] for message in sent["messages"]]
    assert sent.path == "/v1/chat/completions"
    assert roles[:4] == ["system", "user", "assistant", "tool"]
    assert "billing" not in json.dumps(sent["messages"][0])
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["Read", "Edit", "Bash"]
    assert [call["id"] for call in sent["messages"][2]["tool_calls"]] == ["toolu_1", "toolu_2"]
    assert "anthropic-beta" not in sent.headers
    assert reply.headers["x-courier-dropped-params"] == "context_management, cache_control"


async def test_its_answer_is_told_in_the_agents_format(agent, upstream, courier):
    upstream.will_answer(*ANSWER)

    reply = await agent()

    told = validator.check(reply.content)
    assert (told.text, told.finish, told.complete) == ("I'll read both.", "tool_calls", True)
    assert told.tool_calls == [
        {"id": "call_a", "name": "Read", "arguments": {"path": "a"}},
        {"id": "call_b", "name": "Read", "arguments": {"path": "b"}},
    ]
    assert told.usage == {
        "input_tokens": 24_000, "cached_input_tokens": 20_000, "output_tokens": 60
    }  # fmt: skip
    record = await courier.record(reply.request_id)
    assert (record.operation, record.cached_input_tokens) == ("messages", 20_000)


async def test_its_whole_answer_is_told_in_the_agents_format_too(agent, upstream):
    upstream.will_answer(completion("Hello.", usage=usage_of(7, 3)))

    reply = await agent(stream=False)

    told = validator.check_whole(reply.json)
    assert (told.text, told.finish) == ("Hello.", "stop")
    assert told.usage == {"input_tokens": 7, "output_tokens": 3}


async def test_a_model_that_must_keep_all_refuses_what_has_no_place(agent, upstream, courier, tiny):
    tiny.on_unsupported = "refuse"
    await courier.make(tiny.save)

    reply = await agent()

    validator.check_error(reply.json)
    assert (reply.status, reply.error["param"]) == (400, "context_management")


async def test_a_stream_that_breaks_off_ends_with_an_error(agent, upstream):
    upstream.will_answer(*ANSWER[:4])

    told = validator.check((await agent()).content)

    assert not told.complete


async def test_the_agents_tools_of_the_vendors_servers_are_named(agent, upstream):
    upstream.will_answer(*ANSWER)
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}

    reply = await agent(tools=[search], tool_choice={"type": "tool", "name": "web_search"})

    named = reply.headers["x-courier-dropped-params"].split(", ")
    assert {"tools.web_search_20250305", "tool_choice"} <= set(named)


async def test_a_client_of_another_format_is_served_by_the_vendor_too(
    courier, key, alpha, upstream
):
    alpha.kind = "anthropic"
    await courier.make(alpha.save)
    upstream.will_answer(*stream_of("Hello", " there."))

    body = {"model": "tiny", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    reply = await courier.post("/v1/chat/completions", body, key=key)

    assert reply.data[-1] == b"[DONE]"
    sent = upstream.requests[0]
    assert (sent.path, sent["max_tokens"]) == ("/v1/messages", 8192)
    assert sent.headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize("stream", [True, False])
async def test_the_echo_answers_agents_too(agent, courier, stream):
    def make():
        return factories.make_model(
            "echo", factories.make_provider("echo", kind="echo", base_url="")
        )

    await courier.make(make)

    said = [{"role": "user", "content": "Hello."}]
    reply = await agent(model="echo", stream=stream, messages=said)

    told = validator.check(reply.content) if stream else validator.check_whole(reply.json)
    assert (told.text.strip(), told.finish, told.complete) == ("Hello.", "stop", True)


async def test_counting_reads_what_agents_send(courier, key):
    headers = {"x-api-key": key.secret}
    body = {name: AGENTS[name] for name in ("model", "system", "tools", "messages", "thinking")}

    reply = await courier.post("/v1/messages/count_tokens?beta=true", body, headers=headers)

    assert 6000 < reply.json["input_tokens"] < 12_000
