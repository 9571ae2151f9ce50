"""A stream of chat completion chunks, and a whole chat completion, as OpenAI's clients want them.

After platform.openai.com/docs/api-reference/chat and the types of the official SDK.
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
        "audio_input_tokens",
        "audio_output_tokens",
    }
)
REASONS = ("stop", "length", "tool_calls", "content_filter", "function_call", "budget_exceeded")
HEAD = {"id", "object", "created", "model"}
CHUNK = HEAD | {"choices", "usage", "system_fingerprint", "service_tier"}
CHOICE = {"index", "delta", "finish_reason", "logprobs"}
DELTA = {
    "role",
    "content",
    "refusal",
    "tool_calls",
    "function_call",
    "reasoning_content",
    "reasoning_details",
    "annotations",
    "audio",
    "images",
}
MESSAGE = DELTA


class Choice:
    """One of the answers of a stream."""

    def __init__(self):
        self.text = self.thinking = self.finish = ""
        self.calls = []
        self.has_begun = False

    def see(self, choice):
        assert not self.finish, "a choice goes on after its finish_reason"
        assert choice.keys() <= CHOICE, f"unknown fields: {choice.keys() - CHOICE}"
        assert isinstance(choice["delta"], dict), "delta is no object"
        self._see_delta(choice["delta"])
        reason = choice["finish_reason"]
        assert reason is None or reason in REASONS, f"unknown finish_reason {reason!r}"
        check_logprobs(choice.get("logprobs"))
        self.finish = reason or ""

    def _see_delta(self, delta):
        assert delta.keys() <= DELTA, f"unknown fields: {delta.keys() - DELTA}"
        assert ("role" in delta) is not self.has_begun, "the role comes once, first of all"
        assert delta.get("role", "assistant") == "assistant"
        self.has_begun = True
        self.text += words(delta, "content") + words(delta, "refusal")
        self.thinking += words(delta, "reasoning_content")
        for call in delta.get("tool_calls", ()):
            self._see_call(call)
        for entry in (*delta.get("annotations", ()), *delta.get("reasoning_details", ())):
            assert isinstance(entry["index"], int), "the SDK joins lists by index"

    def _see_call(self, call):
        index, function = call["index"], call["function"]
        if index == len(self.calls):
            assert call.keys() == {"index", "id", "type", "function"}
            assert call["type"] == "function"
            assert is_name(call["id"])
            assert is_name(function["name"])
            self.calls.append({"id": call["id"], "name": function["name"], "arguments": ""})
        else:
            assert 0 <= index < len(self.calls), "calls come in the order of their index"
            assert call.keys() == {"index", "function"}, "id and type come once"
            assert function.keys() == {"arguments"}, "the name comes once"
        assert isinstance(function["arguments"], str)
        self.calls[index]["arguments"] += function["arguments"]

    def answer(self):
        assert (self.finish != "tool_calls") or self.calls, "tool_calls without a call"
        return Answer(self.text, self.thinking, parsed(self.calls), self.finish)


class Stream:
    """The chunks so far."""

    def __init__(self):
        self.head = None
        self.choices = {}
        #: Whether chunks have the field; None before the first.
        self.has_usage = None
        self.usage = None

    def see(self, chunk):
        assert chunk.keys() <= CHUNK, f"unknown fields: {chunk.keys() - CHUNK}"
        self._see_head({name: chunk[name] for name in HEAD})
        assert self.usage is None, "a chunk comes after the usage"
        self._see_usage(chunk)
        for choice in chunk["choices"]:
            assert isinstance(choice["index"], int)
            self.choices.setdefault(choice["index"], Choice()).see(choice)

    def _see_head(self, head):
        assert head["object"] == "chat.completion.chunk"
        check_head(head)
        self.head = self.head or head
        assert head == self.head, "id, created and model are those of the whole stream"

    def _see_usage(self, chunk):
        if self.has_usage is None:
            self.has_usage = "usage" in chunk
        assert ("usage" in chunk) is self.has_usage, "usage is in all chunks or in none"
        assert (chunk.get("usage") is None) is bool(chunk["choices"]), "usage has its own chunk"
        self.usage = chunk.get("usage")

    def answer(self, *, complete):
        first = self.choices.get(0, Choice())
        if not complete:
            return Answer(first.text, first.thinking)
        assert self.choices, "no choice"
        assert sorted(self.choices) == list(range(len(self.choices)))
        assert all(choice.finish for choice in self.choices.values()), "no finish_reason"
        answer = first.answer()
        answer.usage, answer.complete = told_usage(self.usage), True
        return answer


def check(stream):
    """What the stream says. AssertionError if it is not as the format wants it."""
    assert stream.endswith(b"\n\n"), "the last frame has no end"
    frames = [frame for frame in stream[:-2].split(b"\n\n") if not frame.startswith(b":")]
    seen = Stream()
    for place, frame in enumerate(frames):
        is_last = place == len(frames) - 1
        assert frame.startswith(b"data: "), f"not a line of data: {frame[:40]!r}"
        assert b"\n" not in frame
        if frame == b"data: [DONE]":
            assert is_last, "something comes after the end marker"
            return seen.answer(complete=True)
        chunk = json.loads(frame[6:])
        if "error" in chunk:
            assert is_last, "something comes after an error"
            assert chunk["error"].keys() == {"message", "type", "param", "code"}
            return seen.answer(complete=False)
        seen.see(chunk)
    raise AssertionError("the stream has no end marker")


def check_whole(body):
    """What a whole answer says. AssertionError if it is not as the format wants it."""
    assert body.keys() <= CHUNK, f"unknown fields: {body.keys() - CHUNK}"
    assert body["object"] == "chat.completion"
    check_head(body)
    assert [choice["index"] for choice in body["choices"]] == list(range(len(body["choices"])))
    answers = [_whole_choice(choice) for choice in body["choices"]]
    answers[0].usage = told_usage(body.get("usage"))
    answers[0].complete = True
    return answers[0]


def _whole_choice(choice):
    message = choice["message"]
    assert choice.keys() <= CHOICE - {"delta"} | {"message"}
    assert message.keys() <= MESSAGE, f"unknown fields: {message.keys() - MESSAGE}"
    assert message["role"] == "assistant"
    assert "content" in message
    assert choice["finish_reason"] in REASONS
    check_logprobs(choice["logprobs"])
    calls = message.get("tool_calls", [])
    assert "tool_calls" not in message or calls, "an empty list of calls"
    assert (choice["finish_reason"] != "tool_calls") or calls or "function_call" in message
    for call in calls:
        assert call.keys() == {"id", "type", "function"}
        assert call["function"].keys() == {"name", "arguments"}
        assert is_name(call["id"])
        assert is_name(call["function"]["name"])
    return Answer(
        words(message, "content") + words(message, "refusal"),
        words(message, "reasoning_content"),
        parsed([{"id": call["id"], **call["function"]} for call in calls]),
        choice["finish_reason"],
    )


def check_head(head):
    assert is_name(head["id"])
    assert is_name(head["model"])
    assert isinstance(head["created"], int)


def check_logprobs(logprobs):
    if logprobs is None:
        return
    assert logprobs.keys() == {"content", "refusal"}
    for entry in logprobs["content"] or ():
        assert isinstance(entry["token"], str)
        assert isinstance(entry["logprob"], int | float)
        assert isinstance(entry["top_logprobs"], list)


def is_name(value):
    return isinstance(value, str) and bool(value)


def words(said, name):
    value = said.get(name)
    assert value is None or isinstance(value, str), f"{name} is no text"
    return value or ""


def parsed(calls):
    return [{**call, "arguments": json.loads(call["arguments"])} for call in calls]


def told_usage(usage):
    """The classes that the usage tells, those that are not zero."""
    if usage is None:
        return {}
    total = usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["total_tokens"] == total, "the total is not the sum"
    given, answered = usage["prompt_tokens_details"], usage["completion_tokens_details"]
    written = given.get("cache_creation_token_details", {})
    told = {
        "input_tokens": usage["prompt_tokens"],
        "cached_input_tokens": given["cached_tokens"],
        "cache_write_tokens": given.get("cache_write_tokens", 0),
        "cache_write_1h_tokens": written.get("ephemeral_1h_input_tokens", 0),
        "audio_input_tokens": given["audio_tokens"],
        "output_tokens": usage["completion_tokens"],
        "reasoning_tokens": answered["reasoning_tokens"],
        "audio_output_tokens": answered["audio_tokens"],
    }
    return {name: count for name, count in told.items() if count}
