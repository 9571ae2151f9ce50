"""Which targets can serve a request at all, and what it goes without where none can. Pure.

Only what is known of a target counts: where nobody has said anything, it is tried. A request
is read for its needs only where some target is known to lack something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from gateway.canonical import ChatRequest, Media, Message, Part, Text, ToolResult
from gateway.dialects.base import ClientHalf, Drops
from gateway.errors import BadRequest, ContextLengthExceeded, NotCertified
from gateway.question import Question
from registry.capabilities import Capabilities
from registry.snapshot import Model, Target

#: Estimates count a token for four characters. Where a request is surely too long, it is so
#: even at six.
SURELY = (2, 3)
#: What a client is told was left out, by capability.
TOLD = {
    "tools": "tools",
    "vision": "images",
    "documents": "documents",
    "audio_input": "audio",
    "json_schema": "response_format",
    "reasoning": "reasoning_effort",
    "logprobs": "logprobs",
}
#: Media that only some models read, by kind.
MEDIA = {"image": "vision", "document": "documents", "audio": "audio_input"}
#: What the model reads in their place.
LEFT_OUT = "({} left out)"
NOTHING: frozenset[str] = frozenset()
P = TypeVar("P", bound=Part)


def fitting(
    model: Model, targets: Sequence[Target], question: Question, input_tokens: int
) -> Sequence[Target]:
    """Those of the targets that a request is tried at.

    Raises NotCertified if every route waits for its certification, and ContextLengthExceeded
    if the request is surely too long for all.
    """
    if not targets and model.uncertified:
        names = ", ".join(model.uncertified)
        raise NotCertified(
            f"No route of the model {model.name!r} has passed the certification that it demands "
            f"({names}). Administrators can certify it on the model's page."
        )
    return _able(_roomy(model, targets, question, input_tokens), question)


def _roomy(
    model: Model, targets: Sequence[Target], question: Question, input_tokens: int
) -> Sequence[Target]:
    """Those whose context window may hold the request and its answer."""
    if question.dialect.task != "chat" or model.capabilities.context_window is None:
        return targets
    answers = max(question.dialect.answers_asked(question.body), 1)
    output = question.dialect.output_bound(question.body) // answers
    least, of = SURELY
    needed = input_tokens * least // of + output
    roomy = [each for each in targets if needed <= (each.capabilities.context_window or needed)]
    if targets and not roomy:
        raise ContextLengthExceeded(
            f"The model {model.name!r} takes {model.capabilities.context_window} tokens of input "
            f"and output together. This request has about {input_tokens} of input"
            + (f", and asks for up to {output} of output." if output else "."),
            param="messages",
        )
    return roomy


def _able(targets: Sequence[Target], question: Question) -> Sequence[Target]:
    """Those that lack nothing that is needed; if all lack something, those that lack least."""
    if not any(each.capabilities.lacks for each in targets):
        return targets
    needed = needs(question)
    missed = [len(each.capabilities.lacks & needed) for each in targets]
    return [each for each, lacks in zip(targets, missed, strict=True) if lacks == min(missed)]


def missed_by(question: Question, target: Target) -> frozenset[str]:
    """What the question needs and the target is known not to have."""
    lacks = target.capabilities.lacks
    return lacks & needs(question) if lacks else NOTHING


def needs(question: Question) -> frozenset[str]:
    """The capabilities that a question cannot be answered in full without."""
    client = question.dialect
    if client.task != "chat" or not isinstance(client, ClientHalf):
        return NOTHING
    try:
        request: ChatRequest = client.read_request(question.body)
    except BadRequest:
        return NOTHING  # whoever reads it for a target says what is wrong with it
    return frozenset(name for name, is_needed in NEEDS.items() if is_needed(request))


def _has(kind: str) -> Callable[[ChatRequest], bool]:
    return lambda request: any(each.kind == kind for each in _media(request))


#: When a request needs a capability.
NEEDS: dict[str, Callable[[ChatRequest], bool]] = {
    "tools": lambda request: bool(request.tools),
    "json_schema": lambda request: (
        request.response_format is not None and request.response_format.kind == "json_schema"
    ),
    "reasoning": lambda request: request.reasoning is not None and request.reasoning.enabled,
    "logprobs": lambda request: request.logprobs,
    **{name: _has(kind) for kind, name in MEDIA.items()},
}


def _media(request: ChatRequest) -> Iterator[Media]:
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, Media):
                yield part
            elif isinstance(part, ToolResult):
                yield from (each for each in part.parts if isinstance(each, Media))


def spare(request: ChatRequest, capabilities: Capabilities, drops: Drops) -> None:
    """Take out of the request what its target is known not to have, and note it.

    Raises UnsupportedParameter where nothing may be left out.
    """
    for name in TOLD:
        if name in capabilities.lacks and NEEDS[name](request):
            drops.note(TOLD[name])
            _take_out(request, name)
    most = capabilities.output_limit
    if most is not None and (request.max_tokens or 0) > most:
        drops.note("max_tokens")
        request.max_tokens = most


def _take_out(request: ChatRequest, name: str) -> None:
    match name:
        case "tools":
            request.tools, request.tool_choice, request.parallel_tools = [], None, None
        case "json_schema":
            request.response_format = None
        case "reasoning":
            request.reasoning = None
        case "logprobs":
            request.logprobs, request.top_logprobs = False, None
        case _:
            for message in request.messages:
                _without_media(message, name)


def _without_media(message: Message, name: str) -> None:
    for part in message.parts:
        if isinstance(part, ToolResult):
            part.parts = [_unless(each, name) for each in part.parts]
    message.parts = [_unless(each, name) for each in message.parts]


def _unless(part: P, name: str) -> P | Text:
    """The part; if it is of media that go by this capability, words that it was left out."""
    if isinstance(part, Media) and MEDIA[part.kind] == name:
        # An empty message would be refused, and without a word the model would make one up.
        return Text(LEFT_OUT.format(part.kind), part.cache)
    return part
