"""What a client of Anthropic's asks, on the hub."""

import base64

import pytest

from gateway.canonical import (
    Media,
    Message,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.anthropic_messages import anthropic_messages
from gateway.errors import BadRequest

PNG = base64.b64encode(b"\x89PNG").decode()
EPHEMERAL = {"type": "ephemeral"}
WEATHER = {"name": "get_weather", "input_schema": {"type": "object"}}


def read(*content, role="user", **body):
    """A request whose only message has this content."""
    given = {"model": "tiny", "max_tokens": 5, "messages": [{"role": role, "content": [*content]}]}
    return anthropic_messages.read_request(given | body)


def parts_of(*content, **body):
    (message,) = read(*content, **body).messages
    return message.parts


def text(words, **more):
    return {"type": "text", "text": words, **more}


def test_text_is_a_string_or_blocks():
    blocks = read(text("a"), text("b"))
    string = read(messages=[{"role": "user", "content": "a"}])

    assert blocks.messages == [Message("user", [Text("a"), Text("b")])]
    assert string.messages == [Message("user", [Text("a")])]


@pytest.mark.parametrize("system", ["Be brief.", [text("Be brief.")]])
def test_the_system_prompt_is_the_first_message(system):
    asked = read(text("a"), system=system)

    assert asked.messages[0] == Message("system", [Text("Be brief.")])


def test_a_system_message_inside_the_conversation_stays_there():
    told = [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]

    assert [message.role for message in read(messages=told).messages] == ["user", "system"]


def test_the_mark_for_the_vendors_billing_is_no_instruction():
    system = [text("x-anthropic-billing-header: cc_version=2.1; cch=00000;"), text("Be brief.")]

    asked = read(text("a"), system=system)

    assert asked.messages[0].parts == [Text("Be brief.")]
    assert asked.unknown == []


@pytest.mark.parametrize(
    ("control", "cache"),
    [(EPHEMERAL, "5m"), (EPHEMERAL | {"ttl": "5m"}, "5m"), (EPHEMERAL | {"ttl": "1h"}, "1h"),
     (None, "")],
)  # fmt: skip
@pytest.mark.parametrize(
    "block",
    [
        text("a"),
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
        {"type": "tool_use", "id": "1", "name": "f", "input": {}},
        {"type": "tool_result", "tool_use_id": "1", "content": "a"},
        {"type": "search_result", "source": "s", "title": "t", "content": [text("a")]},
    ],
)
def test_every_kind_of_block_may_be_cached(block, control, cache):
    assert [part.cache for part in parts_of(block | {"cache_control": control})] == [cache]


def test_a_tool_may_be_cached():
    asked = read(text("a"), tools=[WEATHER | {"cache_control": EPHEMERAL | {"ttl": "1h"}}])

    assert asked.tools[0].cache == "1h"


def test_a_request_that_is_to_be_cached_has_its_last_part_marked():
    assert parts_of(text("a"), text("b"), cache_control=EPHEMERAL) == [Text("a"), Text("b", "5m")]


@pytest.mark.parametrize(
    ("source", "media"),
    [
        ({"type": "base64", "media_type": "image/png", "data": PNG},
         Media("image", "image/png", PNG)),
        ({"type": "url", "url": "https://x/y.png"}, Media("image", url="https://x/y.png")),
    ],
)  # fmt: skip
def test_images_are_bytes_or_addresses(source, media):
    assert parts_of({"type": "image", "source": source}) == [media]


def test_a_file_at_the_vendor_cannot_be_read_elsewhere_and_is_named():
    asked = read({"type": "image", "source": {"type": "file", "file_id": "file_1"}}, text("a"))

    assert (asked.messages[0].parts, asked.unknown) == ([Text("a")], ["image.file"])


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ({"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
         [Media("document", "application/pdf", "JVBE", name="Title")]),
        ({"type": "text", "media_type": "text/plain", "data": "words"}, [Text("Title\n\nwords")]),
        ({"type": "content", "content": [text("a")]}, [Text("Title"), Text("a")]),
    ],
)  # fmt: skip
def test_documents_are_files_or_words(source, parts):
    assert parts_of({"type": "document", "source": source, "title": "Title"}) == parts


def test_a_call_and_its_result_keep_their_id():
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": "é"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a", "is_error": True}

    assert parts_of(call) == [ToolCall("toolu_1", "f", '{"a":"é"}')]
    assert parts_of(result) == [ToolResult("toolu_1", [Text("a")], failed=True)]


def test_a_signature_in_a_calls_id_is_taken_out_of_it():
    call = {"type": "tool_use", "id": "call_1__sig__abc+/=", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "call_1__sig__abc+/="}

    assert parts_of(call) == [ToolCall("call_1", "f", "{}", "abc+/=")]
    assert parts_of(result) == [ToolResult("call_1", [])]


def test_a_result_may_hold_images():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    result = {"type": "tool_result", "tool_use_id": "1", "content": [text("a"), image]}

    assert parts_of(result) == [ToolResult("1", [Text("a"), Media("image", "image/png", PNG)])]


def test_thoughts_keep_their_signature():
    seen = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "d"}

    assert parts_of(seen, hidden, role="assistant", messages=[
        {"role": "assistant", "content": [seen, hidden]}
    ]) == [Thinking("Hm.", "s"), Thinking("", redacted="d")]  # fmt: skip


def test_tools_of_clients_are_read_and_those_of_the_vendors_servers_are_named():
    asked = read(
        text("a"),
        tools=[
            {"type": "custom", "name": "f", "description": "d", "input_schema": {"type": "object"},
             "strict": True},
            {"type": "web_search_20250305", "name": "web_search"},
            {"type": "computer_20250124", "name": "computer", "display_width_px": 1},
        ],
    )  # fmt: skip

    assert asked.tools == [Tool("f", "d", {"type": "object"}, strict=True)]
    assert asked.unknown == ["tools.web_search_20250305", "tools.computer_20250124"]


def test_what_a_tool_says_beside_is_named():
    asked = read(text("a"), tools=[WEATHER | {"input_examples": [], "defer_loading": True}])

    assert asked.unknown == ["tools.defer_loading", "tools.input_examples"]


@pytest.mark.parametrize(
    ("told", "choice", "parallel"),
    [
        ({"type": "auto"}, ToolChoice("auto"), None),
        ({"type": "any"}, ToolChoice("required"), None),
        ({"type": "none"}, ToolChoice("none"), None),
        ({"type": "tool", "name": "get_weather"}, ToolChoice("named", "get_weather"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice("required"), False),
        (None, None, None),
    ],
)
def test_the_choice_of_a_tool_is_read(told, choice, parallel):
    asked = read(text("a"), tools=[WEATHER], tool_choice=told)

    assert (asked.tool_choice, asked.parallel_tools) == (choice, parallel)


def test_a_tool_of_the_vendors_own_cannot_be_chosen_elsewhere():
    search = {"type": "web_search_20250305", "name": "web_search"}

    asked = read(text("a"), tools=[WEATHER, search],
                 tool_choice={"type": "tool", "name": "web_search"})  # fmt: skip

    assert asked.tool_choice is None
    assert "tool_choice" in asked.unknown


@pytest.mark.parametrize(
    ("told", "reasoning"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, Reasoning(budget_tokens=2000)),
        ({"thinking": {"type": "adaptive"}}, Reasoning()),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Reasoning(shown=False)),
        ({"thinking": {"type": "disabled"}}, Reasoning(enabled=False)),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
         Reasoning(effort="xhigh")),
        ({"output_config": {"effort": "low"}}, Reasoning(effort="low")),
        ({}, None),
    ],
)  # fmt: skip
def test_how_much_to_think_is_read(told, reasoning):
    assert read(text("a"), **told).reasoning == reasoning


@pytest.mark.parametrize(
    "told",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        {"output_format": {"type": "json_schema", "schema": {"type": "object"}}},
    ],
)
def test_the_form_of_the_answer_is_read(told):
    asked = read(text("a"), **told)

    form = ResponseFormat("json_schema", schema={"type": "object"}, strict=True)
    assert (asked.response_format, asked.unknown) == (form, [])


def test_the_rest_is_read():
    asked = read(text("a"), stream=True, temperature=0, top_p=0.5, top_k=7,
                 stop_sequences=["x"], metadata={"user_id": "u"})  # fmt: skip

    assert (asked.max_tokens, asked.stream) == (5, True)
    assert (asked.temperature, asked.top_p, asked.top_k) == (0, 0.5, 7)
    assert (asked.stop, asked.user, asked.unknown) == (["x"], "u", [])


def test_a_user_whose_name_is_longer_than_others_allow_stays_one_user():
    user = "user_" + "a" * 64 + "_account__session_1"

    first, again = (read(text("a"), metadata={"user_id": user}).user for _ in range(2))

    assert first == again
    assert len(first) == 64


@pytest.mark.parametrize(
    "body", [{"service_tier": "auto"}, {"betas": []}, {"container": None}, {"metadata": {}}]
)
def test_what_means_nothing_elsewhere_is_not_named(body):
    assert read(text("a"), **body).unknown == []


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"service_tier": "standard_only"}, "service_tier"),
        ({"context_management": {"edits": []}}, "context_management"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"metadata": {"x": "y"}}, "metadata.x"),
    ],
)
def test_fields_without_a_place_are_named(body, name):
    assert read(text("a"), **body).unknown == [name]


def test_blocks_without_a_place_are_named_once():
    block = {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {}}

    assert read(block, block, text("a")).unknown == ["server_tool_use"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]},
         "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]},
         "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
         "messages.0.content.0"),
        ({"tools": [{}]}, "tools.0.name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "x"}}, "tool_choice.type"),
        ({"temperature": "hot"}, "temperature"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_refused_by_its_place(body, field):
    with pytest.raises(BadRequest) as refused:
        read(text("a"), **body)

    assert refused.value.param == field


def test_content_without_end_is_refused():
    inner = []
    for _ in range(5000):
        inner = [{"type": "tool_result", "tool_use_id": "1", "content": inner}]

    with pytest.raises(BadRequest):
        read(*inner)
