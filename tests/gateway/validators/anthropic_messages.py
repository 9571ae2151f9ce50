"""A stream of Anthropic's events, and a whole message, as Anthropic's clients want them.

After docs.claude.com/en/docs/build-with-claude/streaming and the types of the official SDK.
"""

import json

from tests.gateway.validators import Answer

TELLS = frozenset(
    {
        "input_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "output_tokens",
        "reasoning_tokens",
        "search_units",
    }
)
#: The reasons that clients check for, and what they mean.
REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
ERRORS = {
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "conflict_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
}
MESSAGE = {
    "id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"
}  # fmt: skip
#: A block as it is opened, and the deltas that may follow.
BLOCKS = {
    "text": ({"type", "text"}, {"text_delta", "citations_delta"}),
    "thinking": ({"type", "thinking", "signature"}, {"thinking_delta", "signature_delta"}),
    "redacted_thinking": ({"type", "data"}, set()),
    "tool_use": ({"type", "id", "name", "input"}, {"input_json_delta"}),
}
FIELDS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
    "citations_delta": "citation",
}
COUNTS = {
    "input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"
}  # fmt: skip
USAGE = COUNTS | {"cache_creation", "output_tokens_details", "server_tool_use"}


class Stream:
    """The events so far."""

    def __init__(self):
        self.answer = Answer()
        self.open = None
        self.index = 0
        self.input = ""
        self.is_signed = False
        self.stage = "before"

    def see(self, name, event):
        assert name == event["type"], "the event's name is its type"
        assert self.stage not in {"stopped", "failed"}, f"{name} after the end"
        getattr(self, f"see_{name}")(event)

    def see_ping(self, event):
        assert event == {"type": "ping"}

    def see_error(self, event):
        check_error(event)
        self.stage = "failed"

    def see_message_start(self, event):
        assert self.stage == "before", "a message starts once, first of all"
        assert event.keys() == {"type", "message"}
        message = event["message"]
        check_message(message)
        assert message["content"] == []
        assert message["stop_reason"] is None
        self.stage = "blocks"

    def see_content_block_start(self, event):
        assert self.stage == "blocks", "a block outside of its message"
        assert self.open is None, "a block starts inside another"
        assert event.keys() == {"type", "index", "content_block"}
        assert event["index"] == self.index, "indices rise by one from zero"
        block = event["content_block"]
        fields, _ = BLOCKS[block["type"]]
        assert block.keys() == fields
        check_opened(block)
        self.open, self.input, self.is_signed = block, "", False

    def see_content_block_delta(self, event):
        assert event.keys() == {"type", "index", "delta"}
        assert self.open is not None, "a delta outside of a block"
        assert event["index"] == self.index, "a delta of another block"
        delta = event["delta"]
        kind = delta["type"]
        assert kind in BLOCKS[self.open["type"]][1], f"{kind} in {self.open['type']}"
        assert delta.keys() == {"type", FIELDS[kind]}
        assert not self.is_signed, "thinking goes on after its signature"
        self._add(kind, delta[FIELDS[kind]])

    def _add(self, kind, value):
        assert isinstance(value, dict if kind == "citations_delta" else str)
        if kind == "text_delta":
            self.answer.text += value
        elif kind == "thinking_delta":
            self.answer.thinking += value
        elif kind == "signature_delta":
            self.is_signed = True
        elif kind == "input_json_delta":
            self.input += value
        else:
            check_citation(value)

    def see_content_block_stop(self, event):
        assert event == {"type": "content_block_stop", "index": self.index}
        assert self.open is not None, "no block is open"
        if self.open["type"] == "tool_use":
            call = {"id": self.open["id"], "name": self.open["name"], "arguments": self.input}
            self.answer.tool_calls.append(call)
        self.open = None
        self.index += 1

    def see_message_delta(self, event):
        assert self.stage == "blocks", "message_delta outside of its message"
        assert self.open is None, "a block is still open"
        assert event.keys() == {"type", "delta", "usage"}
        assert event["delta"].keys() == {"stop_reason", "stop_sequence"}
        finish(self.answer, event["delta"])
        self.answer.usage = read_usage(event["usage"])
        self.stage = "finished"

    def see_message_stop(self, event):
        assert event == {"type": "message_stop"}
        assert self.stage == "finished", "a message stops without its reason"
        self.stage = "stopped"

    def told(self):
        answer = self.answer
        answer.complete = self.stage == "stopped"
        bounded = answer.finish == "length"
        for call in answer.tool_calls:
            call["arguments"] = parsed(call["arguments"], bounded or not answer.complete)
        return answer


def check(stream):
    """What a stream says. Raises AssertionError if it is not as it should be."""
    told = Stream()
    assert stream.endswith(b"\n\n"), "the last frame is not ended"
    for frame in stream.decode().split("\n\n")[:-1]:
        if not frame.startswith(":"):
            name, data = frame.split("\n")
            assert name.startswith("event: "), "an event without its name"
            assert data.startswith("data: {"), "an event without an object"
            told.see(name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
    return told.told()


def check_whole(message):
    """What a whole message says."""
    check_message(message)
    answer = Answer(complete=True)
    for block in message["content"]:
        check_block(block, answer)
    finish(answer, message)
    answer.usage = read_usage(message["usage"])
    return answer


def check_block(block, answer):
    kind = block["type"]
    fields, _ = BLOCKS[kind]
    assert fields <= block.keys() <= fields | ({"citations"} if kind == "text" else set())
    if kind == "text":
        assert block["text"], "text is never empty"
        answer.text += block["text"]
        for citation in block.get("citations", ()):
            check_citation(citation)
    elif kind == "thinking":
        answer.thinking += block["thinking"]
    elif kind == "tool_use":
        assert isinstance(block["input"], dict)
        call = {"id": block["id"], "name": block["name"], "arguments": block["input"]}
        answer.tool_calls.append(call)


def check_opened(block):
    """A block says nothing yet when it is opened."""
    assert block.get("text", "") == block.get("thinking", "") == block.get("signature", "") == ""
    if block["type"] == "tool_use":
        assert block["input"] == {}
        assert block["id"]
        assert block["name"]
    if block["type"] == "redacted_thinking":
        assert block["data"]


def check_message(message):
    assert message.keys() == MESSAGE
    assert message["id"].startswith("msg_")
    assert message["type"] == "message"
    assert message["role"] == "assistant"
    assert isinstance(message["model"], str)
    read_usage(message["usage"])


def check_citation(citation):
    assert citation["type"] == "web_search_result_location"
    fields = {"type", "url", "title", "cited_text", "encrypted_index"}
    assert citation.keys() == fields
    assert citation["url"]


def check_error(body):
    assert body.keys() <= {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["error"]["type"] in ERRORS
    assert body["error"]["message"]


def finish(answer, told):
    reason, met = told["stop_reason"], told["stop_sequence"]
    assert reason in REASONS, f"unknown stop_reason {reason!r}"
    assert (reason == "stop_sequence") is (met is not None), "the stop sequence that was met"
    # A client that is told of tools looks for them, and one that is not stops.
    if reason == "tool_use":
        assert answer.tool_calls, "tool_use without a tool"
    elif reason == "end_turn":
        assert not answer.tool_calls, "a tool is to be used, and nobody says so"
    answer.finish = REASONS[reason]


def read_usage(usage):
    """The usage in Courier's classes."""
    assert usage.keys() <= USAGE, f"unknown fields: {usage.keys() - USAGE}"
    assert all(isinstance(usage[name], int) and usage[name] >= 0 for name in COUNTS)
    read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    split = usage.get("cache_creation", {})
    if split:
        assert sum(split.values()) == written
    told = {
        "input_tokens": usage["input_tokens"] + read + written,
        "cached_input_tokens": read,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": split.get("ephemeral_1h_input_tokens", 0),
        "output_tokens": usage["output_tokens"],
        "reasoning_tokens": usage.get("output_tokens_details", {}).get("thinking_tokens", 0),
        "search_units": usage.get("server_tool_use", {}).get("web_search_requests", 0),
    }
    return {name: count for name, count in told.items() if count}


def parsed(arguments, may_be_cut):
    if not arguments:
        return {}
    try:
        given = json.loads(arguments)
    except ValueError:
        assert may_be_cut, "a tool's input is no JSON"
        return {}
    assert isinstance(given, dict), "a tool's input is no object"
    return given
