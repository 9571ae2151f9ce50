"""A page to try the description of a generic provider out. Nothing is sent anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import orjson
from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanSwitchWidget,
)

from gateway.canonical import (
    ChatRequest,
    Ended,
    Event,
    Failed,
    Message,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from gateway.dialects.base import Drops
from gateway.dialects.generic import GenericChat
from gateway.providers.base import Message as Outgoing
from gateway.providers.generic import Generic
from registry.admin import generic_forms
from registry.capabilities import UNKNOWN, Capabilities
from registry.generic import examples, options_from
from registry.models import Provider

#: Events and characters that are shown at most.
MOST_EVENTS = 100
SHOWN = 400
LONGEST_ANSWER = 256 * 1024
_WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}


@dataclass(frozen=True, slots=True)
class Sample:
    """A target that is asked nothing."""

    options: Any
    provider_name: str = "this one"
    base_url: str = "https://…"
    api_key: str = "(the key)"
    upstream_model: str = "model-name"
    capabilities: Capabilities = UNKNOWN


@dataclass(slots=True)
class Outcome:
    """What the description makes of the sample conversation, and of the answer."""

    url: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str = ""
    dropped: list[str] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)
    #: Why the answer could not be read to its end.
    failure: str = ""


class DescriptionForm(forms.Form):
    """A description, and an answer to read with it."""

    example = forms.ChoiceField(
        label="Example",
        required=False,
        help_text="Load one to begin with. It replaces the description below.",
        widget=UnfoldAdminSelectWidget,
    )
    description = forms.CharField(
        strip=False,
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 22, "spellcheck": "false", "class": "described-text"}
        ),
    )
    streams = forms.BooleanField(
        label="As a stream", required=False, widget=UnfoldBooleanSwitchWidget
    )
    answer = forms.CharField(
        label="An answer of the vendor's",
        required=False,
        strip=False,
        max_length=LONGEST_ANSWER,
        help_text="Paste one, whole or as a stream. It is read here, and kept nowhere.",
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 8, "spellcheck": "false", "class": "described-text"}
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [("", "(none)"), *((each.name, each.label) for each in examples())]
        example = self.fields["example"]
        assert isinstance(example, forms.ChoiceField)  # noqa: S101  # for the type checker
        example.choices = choices

    def clean_description(self) -> Any:
        told, wrong = generic_forms.read(self.cleaned_data["description"])
        if wrong:
            raise forms.ValidationError([forms.ValidationError(each) for each in wrong])
        return told


def describe(request: HttpRequest) -> HttpResponse:
    """Show what a description makes of a conversation and of an answer."""
    if not request.user.has_perm("registry.change_provider"):
        raise PermissionDenied
    outcome = None
    if request.method == "POST" and "load" not in request.POST:
        form = DescriptionForm(request.POST)
        if form.is_valid():
            outcome = tried(**form.cleaned_data)
    else:
        form = DescriptionForm(initial=_initial(request))
    context = {
        **admin.site.each_context(request),
        "title": "Try a description",
        "form": form,
        "outcome": outcome,
    }
    return TemplateResponse(request, "admin/describe.html", context)


def _initial(request: HttpRequest) -> dict[str, Any]:
    """What is asked to be shown: an example, or the options of a provider."""
    name, pk = request.POST.get("example", ""), request.GET.get("provider", "")
    for example in examples():
        if example.name == name:
            return {"example": name, "description": generic_forms.text_of(example.options)}
    provider = Provider.objects.filter(pk=pk).first() if pk.isdecimal() and len(pk) < 10 else None
    return {"description": generic_forms.text_of(provider.options if provider else {})}


def tried(description: Any, answer: str, *, streams: bool, **_: Any) -> Outcome:
    """What a sound description makes of the sample conversation, and of `answer`."""
    dialect, target = GenericChat(options_from(description)), Sample(description)
    drops = Drops(refuses=False)
    body = orjson.dumps(
        dialect.write_request(_conversation(streams=streams), target, drops),
        option=orjson.OPT_INDENT_2,
    )
    request = Generic().request(target, Outgoing(dialect, body, streams))
    outcome = Outcome(request.url, sorted(request.headers.items()), body.decode(), drops.names)
    if answer.strip():
        _read(outcome, dialect, answer.encode(), streams)
    return outcome


def _conversation(*, streams: bool) -> ChatRequest:
    """One of everything that conversations usually have."""
    return ChatRequest(
        [
            Message("system", [Text("Be brief.")]),
            Message("user", [Text("How is the weather in Bern?")]),
            Message("assistant", [ToolCall("call_1", "weather", '{"city":"Bern"}')]),
            Message("user", [ToolResult("call_1", [Text("Rain.")])]),
            Message("user", [Text("Do I need an umbrella?")]),
        ],
        stream=streams,
        max_tokens=100,
        temperature=0.5,
        tools=[Tool("weather", "Tells the weather in a city.", _WEATHER)],
    )


def _read(outcome: Outcome, dialect: GenericChat, answer: bytes, streams: bool) -> None:
    events = _streamed(dialect, answer) if streams else _whole(dialect, answer)
    last: Event | None = None
    try:
        for last in islice(events, MOST_EVENTS):
            outcome.events.append(_told(last))
    except ValueError as error:
        outcome.failure = f"The answer cannot be read: {error}"
        return
    if streams and not isinstance(last, Ended | Failed):
        outcome.failure = "The stream does not say that it is complete."


def _streamed(dialect: GenericChat, answer: bytes) -> Iterator[Event]:
    framer, reader = dialect.framing(), dialect.stream_reader()
    # The blank line that ends the last event is easily lost on the way here.
    ending = b"\n\n" if dialect.options.stream.format == "sse" else b""
    frames = framer.feed(answer + ending) + framer.last()
    if frames:
        yield from reader.read(frames)
    yield from reader.close()


def _whole(dialect: GenericChat, answer: bytes) -> Iterator[Event]:
    body = orjson.loads(answer)
    failure = dialect.failure_in(body)
    if failure is not None:
        yield Failed(failure)
    elif dialect.is_answer(body):
        yield from dialect.read_response(body)
    else:
        raise ValueError("None of its parts is where the description says.")


def _told(event: Event) -> tuple[str, str]:
    """An event and what it says, in short."""
    said = {name: value for name, value in asdict(event).items() if value not in ("", 0, None)}
    if "usage" in said:
        said = {name: count for name, count in said["usage"].items() if count}
    words = re.findall("[A-Z][a-z]+", type(event).__name__.removesuffix("Delta"))
    return " ".join(words).capitalize(), ", ".join(f"{n} {v!r}" for n, v in said.items())[:SHOWN]
