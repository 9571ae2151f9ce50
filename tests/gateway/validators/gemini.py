"""A stream of Gemini's events, and a whole answer, as Google's clients want them.

After ai.google.dev/api/generate-content and the types of the google-genai package.
"""

import base64
import json

from tests.gateway.validators import Answer

TELLS = frozenset(
    {
        "input_tokens",
        "cached_input_tokens",
        "output_tokens",
        "reasoning_tokens",
        "audio_input_tokens",
        "audio_output_tokens",
    }
)
BODY = {"candidates", "usageMetadata", "modelVersion", "responseId"}
CANDIDATE = {
    "content",
    "index",
    "finishReason",
    "finishMessage",
    "groundingMetadata",
    "logprobsResult",
}
REASONS = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter", "OTHER": "other"}
SAYS = {"text", "functionCall", "inlineData", "fileData"}
STATUSES = {
    "INVALID_ARGUMENT",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
}


class Candidate:
    """One of the answers."""

    def __init__(self):
        self.text = self.thinking = self.finish = ""
        self.calls = []

    def see(self, candidate):
        assert not self.finish, "a candidate goes on after its finishReason"
        assert candidate.keys() <= CANDIDATE, f"unknown fields: {candidate.keys() - CANDIDATE}"
        assert candidate["content"].keys() == {"role", "parts"}
        assert candidate["content"]["role"] == "model"
        assert candidate["content"]["parts"], "a client forgets turns with an empty piece"
        for part in candidate["content"]["parts"]:
            self._see_part(part)
        _check_grounding(candidate.get("groundingMetadata"))
        _check_logprobs(candidate.get("logprobsResult"))
        if "finishReason" in candidate:
            self.finish = REASONS[candidate["finishReason"]]
        if self.finish == "stop" and self.calls:
            self.finish = "tool_calls"

    def _see_part(self, part):
        assert part.keys() <= SAYS | {"thought", "thoughtSignature"}, f"unknown: {part.keys()}"
        assert len(part.keys() & SAYS) == 1, "a part says one thing"
        if "thoughtSignature" in part:
            base64.b64decode(part["thoughtSignature"], validate=True)
        assert part.get("thought") in {None, True}
        if "functionCall" in part:
            self._see_call(part["functionCall"])
        if part.get("thought"):
            self.thinking += part["text"]
        else:
            self.text += part.get("text", "")

    def _see_call(self, call):
        assert call.keys() == {"id", "name", "args"}
        assert call["name"]
        assert isinstance(call["id"], str)
        assert isinstance(call["args"], dict), "args is an object"
        self.calls.append({"id": call["id"], "name": call["name"], "arguments": call["args"]})


class Stream:
    """The events so far."""

    def __init__(self):
        self.candidates = {}
        self.head = None
        self.usage = {}

    def see(self, body):
        assert body.keys() <= BODY, f"unknown fields: {body.keys() - BODY}"
        head = (body.get("modelVersion", "unknown"), body["responseId"])
        assert all(isinstance(name, str) and name for name in head)
        self.head = self.head or head
        assert head == self.head, "the model and the id are those of the whole stream"
        for candidate in body.get("candidates", ()):
            assert isinstance(candidate["index"], int)
            self.candidates.setdefault(candidate["index"], Candidate()).see(candidate)
        if "usageMetadata" in body:
            self.usage = told_usage(body["usageMetadata"])

    def answer(self, *, complete):
        first = self.candidates.get(0, Candidate())
        if complete:
            assert self.candidates, "nothing is answered"
            assert all(each.finish for each in self.candidates.values()), "no finishReason"
        return Answer(first.text, first.thinking, first.calls, first.finish, self.usage, complete)


def check(stream):
    """What the stream says. AssertionError if it is not as the format wants it."""
    assert stream.endswith(b"\n\n"), "the last frame has no end"
    seen = Stream()
    frames = stream[:-2].split(b"\n\n")
    for place, frame in enumerate(frames):
        assert frame.startswith(b"data: {"), f"not a line of data: {frame[:40]!r}"
        assert b"\n" not in frame
        body = json.loads(frame[6:])
        if "error" in body:
            assert place == len(frames) - 1, "something comes after an error"
            # Google's Python client knows an error by these bytes.
            assert frame.startswith(b'data: {"error":')
            _check_error(body["error"])
            return seen.answer(complete=False)
        seen.see(body)
    return seen.answer(complete=True)


def check_whole(body):
    """What a whole answer says. AssertionError if it is not as the format wants it."""
    seen = Stream()
    seen.see(body)
    return seen.answer(complete=True)


def told_usage(usage):
    """The classes that the usage tells, those that are not zero."""
    thoughts = usage.get("thoughtsTokenCount", 0)
    output = usage["candidatesTokenCount"] + thoughts
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + output, "the total is no sum"
    told = {
        "input_tokens": usage["promptTokenCount"],
        "cached_input_tokens": usage.get("cachedContentTokenCount", 0),
        "output_tokens": output,
        "reasoning_tokens": thoughts,
        "audio_input_tokens": _audio(usage, "promptTokensDetails", "promptTokenCount"),
        "audio_output_tokens": _audio(usage, "candidatesTokensDetails", "candidatesTokenCount"),
    }
    return {name: count for name, count in told.items() if count}


def _audio(usage, details, total):
    counts = {each["modality"]: each["tokenCount"] for each in usage.get(details, ())}
    assert not counts or sum(counts.values()) == usage[total]
    return counts.get("AUDIO", 0)


def _check_error(error):
    assert error.keys() == {"code", "message", "status", "details"}
    assert isinstance(error["code"], int)
    assert error["status"] in STATUSES
    assert error["message"]
    assert all(each["@type"].startswith("type.googleapis.com/") for each in error["details"])


def _check_grounding(grounding):
    for support in (grounding or {}).get("groundingSupports", ()):
        chunks = grounding["groundingChunks"]
        assert all(chunks[index]["web"]["uri"] for index in support["groundingChunkIndices"])


def _check_logprobs(logprobs):
    if logprobs:
        assert len(logprobs["chosenCandidates"]) == len(logprobs["topCandidates"])
        assert all(isinstance(each["token"], str) for each in logprobs["chosenCandidates"])
