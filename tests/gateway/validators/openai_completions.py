"""A stream of completion chunks, and a whole completion, as OpenAI's clients want them.

After platform.openai.com/docs/api-reference/completions and the types of the official SDK.
"""

import json

from tests.gateway.validators import Answer
from tests.gateway.validators.openai_chat import TELLS, check_head, told_usage

__all__ = ["CANNOT_TELL", "TELLS", "check", "check_whole"]

#: The format has words only.
CANNOT_TELL = {"thinking", "tool_calls"}
REASONS = ("stop", "length", "content_filter", "budget_exceeded")
FIELDS = {"id", "object", "created", "model", "choices", "usage"}
LISTS = {"tokens", "token_logprobs", "top_logprobs", "text_offset"}


class Stream:
    """The chunks so far."""

    def __init__(self):
        self.head = self.usage = None
        self.texts, self.finishes = {}, {}

    def see(self, chunk):
        assert self.usage is None, "a chunk comes after the usage"
        head = {name: chunk[name] for name in ("id", "object", "created", "model")}
        assert self.head in (None, head), "id, created and model are those of the whole stream"
        self.head = head
        check_fields(chunk)
        self.usage = chunk.get("usage")
        assert (self.usage is None) is bool(chunk["choices"]), "usage has its own chunk"
        for choice in chunk["choices"]:
            self._see_choice(choice)

    def _see_choice(self, choice):
        index = choice["index"]
        assert index not in self.finishes, "a choice goes on after its finish_reason"
        check_choice(choice)
        self.texts[index] = self.texts.get(index, "") + choice["text"]
        if choice["finish_reason"] is not None:
            self.finishes[index] = choice["finish_reason"]

    def answer(self, *, complete):
        text = self.texts.get(0, "")
        if not complete:
            return Answer(text)
        assert self.texts, "no choice"
        assert self.texts.keys() == self.finishes.keys(), "no finish_reason"
        return Answer(text, finish=self.finishes[0], usage=told_usage(self.usage), complete=True)


def check(stream):
    """What the stream says. AssertionError if it is not as the format wants it."""
    assert stream.endswith(b"\n\n"), "the last frame has no end"
    frames = stream[:-2].split(b"\n\n")
    seen = Stream()
    for place, frame in enumerate(frames):
        is_last = place == len(frames) - 1
        assert frame.startswith(b"data: "), f"not a line of data: {frame[:40]!r}"
        if frame == b"data: [DONE]":
            assert is_last, "something comes after the end marker"
            return seen.answer(complete=True)
        chunk = json.loads(frame[6:])
        if "error" in chunk:
            assert is_last, "something comes after an error"
            return seen.answer(complete=False)
        seen.see(chunk)
    raise AssertionError("the stream has no end marker")


def check_whole(body):
    """What a whole answer says. AssertionError if it is not as the format wants it."""
    check_fields(body)
    for choice in body["choices"]:
        check_choice(choice)
        assert choice["finish_reason"] in REASONS
    first = body["choices"][0]
    usage = told_usage(body.get("usage"))
    return Answer(first["text"], finish=first["finish_reason"], usage=usage, complete=True)


def check_fields(body):
    assert body.keys() <= FIELDS, f"unknown fields: {body.keys() - FIELDS}"
    assert body["object"] == "text_completion"
    check_head(body)


def check_choice(choice):
    assert choice.keys() == {"text", "index", "logprobs", "finish_reason"}
    assert isinstance(choice["text"], str)
    assert choice["finish_reason"] in (None, *REASONS)
    if choice["logprobs"] is not None:
        assert choice["logprobs"].keys() == LISTS
        assert len({len(each) for each in choice["logprobs"].values()}) == 1
