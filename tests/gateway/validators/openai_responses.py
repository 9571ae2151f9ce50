"""A stream of response events, and a whole response, as OpenAI's clients want them.

After platform.openai.com/docs/api-reference/responses-streaming, and checked besides against the
types of the official SDK.
"""

import json

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.gateway.validators import Answer

TELLS = frozenset(
    {
        "input_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
    }
)
EVENT = TypeAdapter(ResponseStreamEvent)
RESPONSE = TypeAdapter(Response)
ENDS = {"response.completed", "response.incomplete", "response.failed"}
REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
#: The fields of an item that its events bring piece by piece, and that it begins without.
EMPTY_AT_FIRST = ("content", "summary", "arguments", "input", "result")


class Part:
    """A part of an item's content or summary, or its arguments: pieces, then the whole."""

    def __init__(self, field):
        self.field = field
        self.words = ""
        #: Whether the whole has been told.
        self.is_told = False
        self.annotations = []

    def add(self, event):
        assert not self.is_told, "a delta comes after the whole"
        self.words += event["delta"]

    def tell(self, event):
        assert not self.is_told, "the whole is told twice"
        assert event[self.field] == self.words, "the whole is not what its pieces are"
        self.is_told = True


class Item:
    """One item of the output."""

    def __init__(self, event):
        self.item, self.index = event["item"], event["output_index"]
        self.id, self.kind = self.item["id"], self.item["type"]
        for field in EMPTY_AT_FIRST:
            assert not self.item.get(field), f"an item begins with {field}"
        #: Of its content or its summary; calls have one, without an index.
        self.parts = []
        self.open = None
        self.done = None

    def open_part(self, event, index, field):
        assert self.open is None, "a part begins before the one before it is done"
        assert index == len(self.parts), "parts come in the order of their index"
        assert not event["part"].get(field), "a part begins with words"
        self.open = Part(field)
        self.parts.append(self.open)

    def close_part(self, event, index):
        assert self.open is self.parts[index], "another part is open"
        assert self.open.is_told, "a part ends before its whole was told"
        assert event["part"][self.open.field] == self.open.words
        assert event["part"].get("annotations", []) == self.open.annotations
        self.open = None

    def part(self, event, index):
        assert self.open is self.parts[index], "words come for a part that is not open"
        return self.open

    def single(self, field):
        if not self.parts:
            self.parts.append(Part(field))
        return self.parts[0]

    def close(self, event):
        assert self.done is None, "an item is done twice"
        assert self.open is None, "an item ends with an open part"
        assert all(part.is_told for part in self.parts), "an item ends before its whole was told"
        self.done = event["item"]
        assert self.done["id"] == self.id
        assert self.done["type"] == self.kind
        assert self.done.get("status") != "in_progress"
        told = "".join(part.words for part in self.parts)
        assert _words_of(self.done) == told, "an item is not what its parts are"


class Stream:
    """The events so far."""

    def __init__(self):
        self.id = None
        self.number = 0
        self.items = []
        self.end = None
        self.error = None

    def see(self, event):
        assert self.end is None, "something comes after the end"
        assert event["sequence_number"] == self.number, "numbers have a gap"
        self.number += 1
        kind = event["type"]
        if kind == "error":
            self.error = event
        elif "response" in event:
            self._see_response(kind, event["response"])
        else:
            assert self.id is not None, "an item comes before the response"
            assert self.error is None, "the stream goes on after an error"
            self._see_of_item(kind, event)

    def _see_response(self, kind, response):
        place = ["response.created", "response.in_progress"]
        if kind in place:
            assert place.index(kind) == self.number - 1, "the stream begins otherwise"
            assert response["status"] == "in_progress"
            assert response["output"] == []
        else:
            assert kind in ENDS
            assert response["status"] == kind.removeprefix("response.")
            self.end = response
        assert self.id in (None, response["id"]), "the response has another id"
        self.id = response["id"]

    def _see_of_item(self, kind, event):
        name = kind.removeprefix("response.")
        if name == "output_item.added":
            assert event["output_index"] == len(self.items), "items come in order"
            self.items.append(Item(event))
            return
        item = self.items[event["output_index"]]
        assert item.done is None, "an item goes on after it is done"
        if name == "output_item.done":
            item.close(event)
            return
        assert event["item_id"] == item.id, "the item has another id"
        SEEN[name](item, event)

    def answer(self):
        answer = Answer()
        for item in self.items:
            _gather(answer, item.done or item.item, _told_so_far(item))
        if self.end is None or self.end["status"] == "failed":
            return answer
        assert all(item.done for item in self.items), "the stream ends with an open item"
        assert self.end["output"] == [item.done for item in self.items]
        return check_whole(self.end)


def _of_text(field, act):
    return lambda item, event: act(item.part(event, event["content_index"]), event)


def _of_thought(act):
    return lambda item, event: act(item.part(event, event["summary_index"]), event)


def _annotate(item, event):
    part = item.part(event, event["content_index"])
    assert event["annotation_index"] == len(part.annotations)
    part.annotations.append(event["annotation"])


def _open_content(item, event):
    field = "refusal" if event["part"]["type"] == "refusal" else "text"
    item.open_part(event, event["content_index"], field)


SEEN = {
    "content_part.added": _open_content,
    "content_part.done": lambda item, event: item.close_part(event, event["content_index"]),
    "output_text.delta": _of_text("text", Part.add),
    "output_text.done": _of_text("text", Part.tell),
    "output_text.annotation.added": _annotate,
    "refusal.delta": _of_text("refusal", Part.add),
    "refusal.done": _of_text("refusal", Part.tell),
    "reasoning_summary_part.added": (
        lambda item, event: item.open_part(event, event["summary_index"], "text")
    ),
    "reasoning_summary_part.done": (
        lambda item, event: item.close_part(event, event["summary_index"])
    ),
    "reasoning_summary_text.delta": _of_thought(Part.add),
    "reasoning_summary_text.done": _of_thought(Part.tell),
    "function_call_arguments.delta": lambda item, event: item.single("arguments").add(event),
    "function_call_arguments.done": lambda item, event: item.single("arguments").tell(event),
    "custom_tool_call_input.delta": lambda item, event: item.single("input").add(event),
    "custom_tool_call_input.done": lambda item, event: item.single("input").tell(event),
}


def check(stream):
    """What the stream says. AssertionError if it is not as the format wants it."""
    assert stream.endswith(b"\n\n"), "the last frame has no end"
    seen = Stream()
    for frame in stream[:-2].split(b"\n\n"):
        if not frame.startswith(b":"):
            seen.see(_event_in(frame))
    assert seen.end is not None, "the stream has no end"
    return seen.answer()


def _event_in(frame):
    name, _, data = frame.partition(b"\n")
    assert name.startswith(b"event: "), f"an event without a name: {frame[:40]!r}"
    assert data.startswith(b"data: "), f"an event without data: {frame[:40]!r}"
    event = json.loads(data[6:])
    assert event["type"] == name[7:].decode()
    EVENT.validate_python(event)
    return event


def check_whole(body):
    """What a whole response says. AssertionError if it is not as the format wants it."""
    RESPONSE.validate_python(body)
    assert body["object"] == "response"
    assert body["store"] is False
    answer = Answer(complete=True)
    for item in body["output"]:
        assert item.get("status") != "in_progress"
        _gather(answer, item, _words_of(item))
    answer.finish = _finish(body, answer)
    answer.usage = _usage(body["usage"])
    return answer


def _finish(body, answer):
    if body["status"] == "incomplete":
        return REASONS[body["incomplete_details"]["reason"]]
    assert body["status"] == "completed"
    assert body["incomplete_details"] is None
    return "tool_calls" if answer.tool_calls else "stop"


def _gather(answer, item, words):
    match item["type"]:
        case "message":
            answer.text += words
        case "reasoning":
            answer.thinking += words
        case "function_call":
            call = {"id": item["call_id"], "name": item["name"]}
            answer.tool_calls.append({**call, "arguments": _parsed(item, words)})
        case "custom_tool_call":
            call = {"id": item["call_id"], "name": item["name"]}
            answer.tool_calls.append({**call, "arguments": {"input": words}})


def _parsed(item, words):
    return json.loads(words) if item["status"] == "completed" else words


def _told_so_far(item):
    return "".join(part.words for part in item.parts)


def _words_of(item):
    parts = [*item.get("content", ()), *item.get("summary", ())]
    words = "".join(part.get("text") or part.get("refusal") or "" for part in parts)
    return words + item.get("arguments", "") + item.get("input", "")


def _usage(usage):
    """The classes that the usage tells, those that are not zero."""
    if usage is None:
        return {}
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    told = {
        "input_tokens": usage["input_tokens"],
        "cached_input_tokens": usage["input_tokens_details"]["cached_tokens"],
        "cache_write_tokens": usage["input_tokens_details"]["cache_write_tokens"],
        "output_tokens": usage["output_tokens"],
        "reasoning_tokens": usage["output_tokens_details"]["reasoning_tokens"],
    }
    return {name: count for name, count in told.items() if count}
