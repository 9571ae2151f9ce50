"""A provider that is described instead of programmed: what its options must say.

An administrator writes templates for what is asked and paths for what is answered. All of it
is data: placeholders are replaced and paths are followed, nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path as File
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from lib import json_template
from lib.json_path import JsonPath

EXAMPLES = File(__file__).parent / "generic_examples"
#: Of the options of one provider, in bytes.
LARGEST = 64 * 1024
MOST_COMPLAINTS = 10
#: What the body may hold, alone or inside a text.
WORDS = frozenset({
    *("model", "prompt", "system", "user", "reasoning_effort", "stream"),
    *("max_tokens", "temperature", "top_p", "top_k", "seed"),
    *("presence_penalty", "frequency_penalty"),
})  # fmt: skip
#: What the body may hold alone.
VALUES = frozenset({"messages", "stop", "tools", "tool_choice", "response_schema"})
#: What a message, a piece of one, a tool and a call of one may hold: alone, and inside a text.
OF_A_MESSAGE = (
    frozenset({"tool_calls", "images"}),
    frozenset({"role", "content", "name", "thinking", "tool_call_id", "tool_name"}),
)
OF_A_TEXT = (frozenset[str](), frozenset({"text"}))
OF_AN_IMAGE = (frozenset[str](), frozenset({"url", "data", "media_type"}))
OF_A_CALL = (frozenset({"arguments"}), frozenset({"id", "name", "arguments_text"}))
OF_A_TOOL = (frozenset({"parameters"}), frozenset({"name", "description"}))
OF_A_TURN = (frozenset[str](), frozenset({"role", "content"}))
OF_A_HEADER = (frozenset[str](), frozenset({"api_key", "model"}))

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
#: Headers that Courier's own connection lives by, and some that would change what arrives.
_OUR_HEADERS = frozenset({
    *("accept-encoding", "connection", "content-encoding", "content-length", "content-type"),
    *("expect", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te"),
    *("trailer", "transfer-encoding", "upgrade", "user-agent"),
})  # fmt: skip
#: Headers that hold a secret, which belongs where secrets are encrypted.
_SECRET_HEADERS = re.compile(r"authorization|cookie|.*(key|token|secret|password).*", re.IGNORECASE)


def _path(text: Any) -> JsonPath:
    if not isinstance(text, str):
        raise ValueError("A path is a text, such as choices[0].message.content.")  # noqa: TRY004
    return JsonPath(text)


Path = Annotated[JsonPath, PlainValidator(_path)]


def _template(of: tuple[frozenset[str], frozenset[str]]) -> AfterValidator:
    def check(template: Any) -> Any:
        for place, complaint in json_template.complaints(template, *of):
            raise ValueError(f"{place}: {complaint}" if place else complaint)
        return template

    return AfterValidator(check)


def _url_path(path: str) -> str:
    """A path behind the base URL. Raises ValueError."""
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError("Begin with one slash: it is what comes behind the base URL.")
    if not re.fullmatch(r"[A-Za-z0-9/._~:@!$&'()*+,;=%{}-]+", path) or "/.." in path:
        raise ValueError("Write it in ASCII, without query, fragment, space or '..'.")
    for complaint in json_template.complaints(path, (), {"model"}):
        raise ValueError(complaint[1])
    return path


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        for complaint in _complaints_of_header(name, value):
            raise ValueError(f"{name[:100]}: {complaint}")
    return headers


def _complaints_of_header(name: str, value: str) -> Iterator[str]:
    if not _HEADER_NAME.fullmatch(name):
        yield "This is no name of a header."
    if name.lower() in _OUR_HEADERS:
        yield "Courier sets this header itself."
    if not re.fullmatch(r"[ -~]*", value):
        yield "A header holds ASCII in one line."
    if _SECRET_HEADERS.fullmatch(name) and "{{" not in value:
        yield "Write {{api_key}} here, and store the key among the provider's keys."
    for _, complaint in json_template.complaints(value, *OF_A_HEADER):
        yield complaint


UrlPath = Annotated[str, AfterValidator(_url_path)]


class Strict(BaseModel):
    """Knows its fields, and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Roles(Strict):
    """What the vendor calls who speaks."""

    system: str = "system"
    user: str = "user"
    assistant: str = "assistant"
    tool: str = "tool"


class Messages(Strict):
    """How one message of `{{messages}}` is written."""

    roles: Roles = Roles()
    message: Annotated[dict[str, Any], _template(OF_A_MESSAGE)] = {
        "role": "{{role}}",
        "content": "{{content}}",
        "tool_calls": "{{tool_calls}}",
        "tool_call_id": "{{tool_call_id}}",
    }
    #: With one of these, the content is a list of pieces; with none, a text.
    text: Annotated[Any, _template(OF_A_TEXT)] = None
    image: Annotated[Any, _template(OF_AN_IMAGE)] = None
    tool_call: Annotated[Any, _template(OF_A_CALL)] = {
        "id": "{{id}}",
        "type": "function",
        "function": {"name": "{{name}}", "arguments": "{{arguments_text}}"},
    }

    @model_validator(mode="after")
    def _both_pieces(self) -> Messages:
        if self.image is not None and self.text is None:
            raise ValueError("With image, say also how a piece of text is written: text.")
        return self


class Prompt(Strict):
    """How a conversation becomes the one text `{{prompt}}`."""

    turn: Annotated[str, _template(OF_A_TURN)] = "{{content}}\n\n"
    #: What comes behind all turns, for the model to go on from.
    end: str = ""


class Request(Strict):
    """What is asked."""

    path: UrlPath
    #: Left out: the key as a bearer token.
    headers: Annotated[dict[str, str], AfterValidator(_headers)] | None = None
    body: Annotated[dict[str, Any], _template((VALUES, WORDS))]
    messages: Messages = Messages()
    prompt: Prompt = Prompt()
    tool: Annotated[Any, _template(OF_A_TOOL)] = {
        "type": "function",
        "function": {
            "name": "{{name}}",
            "description": "{{description}}",
            "parameters": "{{parameters}}",
        },
    }


class ToolCalls(Strict):
    """Where calls of tools are. Paths but the first begin at one call."""

    items: Path
    id: Path | None = None
    name: Path
    #: JSON text, or an object. In a stream: the next piece of the text, or all of it.
    arguments: Path
    #: In a stream, which call a piece belongs to. Left out: to the one before.
    index: Path | None = None


class Usage(Strict):
    """Where tokens are counted."""

    input: Path | None = None
    output: Path | None = None
    cached: Path | None = None
    cache_write: Path | None = None
    reasoning: Path | None = None
    #: Whether what a cache read or wrote is counted in `input` already.
    input_includes_cached: bool = True
    #: Whether thinking is counted in `output` already.
    output_includes_reasoning: bool = True


Reason = Literal["stop", "length", "tool_calls", "content_filter"]


class Response(Strict):
    """Where the parts of a whole answer are."""

    text: Path
    thinking: Path | None = None
    tool_calls: ToolCalls | None = None
    finish: Path | None = None
    #: The vendor's reasons to stop, and what each means. Others mean "stop".
    finish_map: dict[str, Reason] = {}
    usage: Usage | None = None
    #: The message of an error.
    error: Path | None = None


class Done(Strict):
    """What ends a stream: this very data, or a value at a path."""

    data: str | None = Field(default=None, min_length=1, max_length=100)
    path: Path | None = None
    #: Left out: any value but null and false.
    equals: str | int | float | bool | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Done:
        if (self.data is None) is (self.path is None):
            raise ValueError("Say either data or path.")
        return self


class Stream(Strict):
    """Where the parts of one event of a stream are."""

    format: Literal["sse", "ndjson", "none"] = "none"
    #: Left out: the path of the request.
    path: UrlPath | None = None
    text: Path | None = None
    thinking: Path | None = None
    tool_calls: ToolCalls | None = None
    finish: Path | None = None
    usage: Usage | None = None
    error: Path | None = None
    done: Done | None = None

    @model_validator(mode="after")
    def _complete(self) -> Stream:
        if self.format == "none":
            return self
        if self.text is None:
            raise ValueError("Say where the text of an event is: text.")
        if self.done is None and self.finish is None:
            raise ValueError(
                "Say how a stream ends, or one that was cut looks whole: done, finish."
            )
        return self


class GenericOptions(Strict):
    """All of it."""

    request: Request
    response: Response
    #: Left out: the vendor does not stream. Clients that ask for a stream get all of it at once.
    stream: Stream = Stream()


def options_from(told: Any) -> GenericOptions:
    """The options of a provider. Raises pydantic's ValidationError, a ValueError."""
    return GenericOptions.model_validate(told)


@dataclass(frozen=True, slots=True)
class Example:
    """A vendor, described: to begin from, and to learn from."""

    name: str
    label: str
    base_url: str
    options: Mapping[str, Any]


@cache
def examples() -> tuple[Example, ...]:
    """What the admin offers to begin from."""
    return tuple(
        Example(path.stem, **orjson.loads(path.read_bytes()))
        for path in sorted(EXAMPLES.glob("*.json"))
    )


def complaints(told: Any) -> list[str]:
    """What is wrong with these options, in sentences that begin with the place."""
    if not isinstance(told, Mapping):
        return ["Options must be a JSON object."]
    try:
        written = orjson.dumps(told)
        if len(written) > LARGEST:
            return [f"Options take {LARGEST // 1024} KiB at most."]
        if b"\\u0000" in written:
            return ["Options hold no NUL character: PostgreSQL cannot keep it."]
        options_from(told)
    except ValidationError as error:
        return [_sentence(each) for each in error.errors()[:MOST_COMPLAINTS]]
    except TypeError:
        return ["Options must be JSON that is not nested too deeply."]
    return []


def _sentence(error: Any) -> str:
    place = ".".join(str(step) for step in error["loc"])
    match error["type"]:
        case "missing":
            return f"{place}: This is needed."
        case "extra_forbidden":
            return f"{place}: There is no such field."
        case "value_error":
            return f"{place}: {error['ctx']['error']}"
    return f"{place}: {error['msg']}."
