"""The hub between formats: what a client can ask, and what an answer consists of.

A format reads into these and writes from them, so that n + m halves serve n × m pairs. A
whole answer is a short list of events, a streamed one a long one. What no two formats have
in common has no place here; a reader names it as unknown, and the client is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from lib.tokens import TokenUsage

Json = dict[str, Any]

#: Between the id of a tool call and the signature that a vendor wants to have back with it.
_SIGNED = "__sig__"


# What is said


@dataclass(slots=True)
class Text:
    text: str
    #: Whether the prompt up to here is worth caching, and for how long: "5m" or "1h".
    cache: str = ""


@dataclass(slots=True)
class Media:
    """An image, a document or a sound: its bytes in base64, or where they are."""

    kind: Literal["image", "document", "audio"]
    #: Such as image/png; empty where only a URL is known.
    media_type: str = ""
    #: Base64.
    data: str = field(default="", repr=False)
    url: str = field(default="", repr=False)
    #: OpenAI's "detail" of an image: low, high, auto.
    detail: str = ""
    #: A document's file name or title.
    name: str = ""
    cache: str = ""


@dataclass(slots=True)
class Thinking:
    """What the model thought. A vendor takes its own thoughts back only with their signature."""

    text: str
    signature: str = ""
    #: Thoughts that the vendor shows to nobody; then `text` is empty.
    redacted: str = ""


@dataclass(slots=True)
class Refusal:
    text: str


@dataclass(slots=True)
class ToolCall:
    id: str
    name: str
    #: JSON text, as the model wrote it.
    arguments: str
    #: What the vendor wants to have back with the call (Gemini's thought signature).
    signature: str = ""
    cache: str = ""


@dataclass(slots=True)
class ToolResult:
    call_id: str
    parts: list[Text | Media]
    failed: bool = False
    cache: str = ""


Part = Text | Media | Thinking | Refusal | ToolCall | ToolResult


@dataclass(slots=True)
class Message:
    """One turn. Instructions are messages of the system; results of tools are the user's."""

    role: Literal["system", "user", "assistant"]
    parts: list[Part]
    name: str = ""


@dataclass(slots=True)
class Tool:
    name: str
    description: str = ""
    #: JSON schema of the arguments.
    parameters: Json = field(default_factory=dict)
    strict: bool | None = None
    cache: str = ""


@dataclass(slots=True)
class ToolChoice:
    mode: Literal["auto", "none", "required", "named"]
    #: The tool that must be called, where the mode is "named".
    name: str = ""


@dataclass(slots=True)
class ResponseFormat:
    """The form of the answer: any JSON object, or one that follows a schema."""

    kind: Literal["json_object", "json_schema"]
    name: str = "answer"
    schema: Json = field(default_factory=dict)
    strict: bool | None = None
    description: str = ""


@dataclass(slots=True)
class Reasoning:
    """How much the model may think. Formats give an effort, a budget of tokens, or both."""

    enabled: bool = True
    #: minimal, low, medium, high, … as OpenAI names them; empty where only a budget is given.
    effort: str = ""
    budget_tokens: int = 0
    #: Whether the client wants to see thoughts, or their summary.
    shown: bool = True


@dataclass(slots=True)
class ChatRequest:
    """A conversation to go on with. None, or empty: the client does not say."""

    messages: list[Message]
    stream: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    #: How many answers.
    n: int = 1
    logprobs: bool = False
    top_logprobs: int | None = None
    logit_bias: Json | None = None
    tools: list[Tool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    #: Whether the model may call several tools at once.
    parallel_tools: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    #: An opaque name for the end user.
    user: str = ""
    #: Fields of the client's format that have no place above, by the client's own names.
    unknown: list[str] = field(default_factory=list)

    @property
    def is_marked(self) -> bool:
        """Whether some of it is worth caching."""
        parts = (part for message in self.messages for part in message.parts)
        return any(getattr(each, "cache", "") for each in (*self.tools, *parts))


@dataclass(slots=True)
class EmbeddingsRequest:
    """Texts, or lists of token ids, to be made vectors of."""

    inputs: list[str | list[int]]
    dimensions: int | None = None
    #: What the vectors are for, as vendors name it: query, document, …; empty: not said.
    purpose: str = ""
    unknown: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RerankRequest:
    """Documents to be put in the order of their bearing on a query."""

    query: str
    documents: list[str]
    top_n: int | None = None
    return_documents: bool = False
    max_tokens_per_document: int | None = None
    unknown: list[str] = field(default_factory=list)


# What is answered. `choice` tells several answers to one request apart.


@dataclass(slots=True)
class Started:
    """The answer begins. The id and the model are the upstream's own."""

    id: str
    model: str


@dataclass(slots=True)
class TextDelta:
    text: str
    choice: int = 0


@dataclass(slots=True)
class ThinkingDelta:
    text: str
    choice: int = 0


@dataclass(slots=True)
class ThinkingSigned:
    """The signature of the thoughts before it, which end with it."""

    signature: str
    choice: int = 0


@dataclass(slots=True)
class ThinkingRedacted:
    """A whole block of thoughts that nobody may see."""

    data: str
    choice: int = 0


@dataclass(slots=True)
class RefusalDelta:
    text: str
    choice: int = 0


@dataclass(slots=True)
class ToolCallStarted:
    """A call begins. `index` counts the calls of one answer from 0."""

    index: int
    id: str
    name: str
    signature: str = ""
    choice: int = 0


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of a call's arguments, which are JSON when all pieces are joined."""

    index: int
    arguments: str
    choice: int = 0


@dataclass(slots=True)
class MediaMade:
    """An image or a sound that the model made."""

    media: Media
    choice: int = 0


@dataclass(slots=True)
class Annotated:
    """A source of the text before it, in OpenAI's shape of an annotation."""

    annotation: Json
    choice: int = 0


@dataclass(slots=True)
class LogProbs:
    """Of the tokens of the text before it, in OpenAI's shape (token, logprob, bytes, …)."""

    tokens: list[Json]
    choice: int = 0


FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(slots=True)
class Finished:
    """The model has stopped. Usage may still follow."""

    #: One of FinishReason, or a reason of Courier's own, written as it is where a format allows.
    reason: str
    #: The stop sequence that ended it, where the upstream says so.
    stop_sequence: str = ""
    choice: int = 0


@dataclass(slots=True)
class UsageReported:
    """What was used so far. Cumulative: the last one counts."""

    usage: TokenUsage
    #: Whether it was told before the output, of which it knows nothing yet.
    before_output: bool = False


@dataclass(slots=True)
class Embedded:
    """One vector per input, in their order."""

    vectors: list[list[float]]


@dataclass(slots=True)
class Ranked:
    """Places of documents in the request with their scores, best first."""

    results: list[tuple[int, float]]


@dataclass(slots=True)
class Failed:
    """The upstream reports a failure, in its own words: message, type, code or status."""

    error: Json


@dataclass(slots=True)
class Ended:
    """The upstream has said that its answer is complete."""


Event = (
    Started
    | TextDelta
    | ThinkingDelta
    | ThinkingSigned
    | ThinkingRedacted
    | RefusalDelta
    | ToolCallStarted
    | ToolCallDelta
    | MediaMade
    | Annotated
    | LogProbs
    | Finished
    | UsageReported
    | Embedded
    | Ranked
    | Failed
    | Ended
)

#: Events that the client sees something of the model's own in.
OUTPUT = (
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    RefusalDelta,
    ToolCallStarted,
    ToolCallDelta,
    MediaMade,
    Finished,
)


def signed_id(call_id: str, signature: str) -> str:
    """A tool call's id that carries its signature through formats that have no place for it."""
    return f"{call_id}{_SIGNED}{signature}" if signature else call_id


def opened_id(told: str) -> tuple[str, str]:
    """The id and the signature that `signed_id` joined; the signature may be empty."""
    call_id, _, signature = told.partition(_SIGNED)
    return call_id, signature
