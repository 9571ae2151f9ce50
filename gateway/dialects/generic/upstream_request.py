"""What is asked of a provider that an administrator has described, written from the hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.canonical import (
    ChatRequest,
    Media,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.base import Destination, Drops, Json
from gateway.dialects.openai_chat.upstream_request import words_of
from lib.json_reading import loads
from lib.json_template import NOTHING, placeholders, rendered
from registry.generic import GenericOptions, Messages

#: Placeholders that are called otherwise by clients.
_CALLED = {"response_schema": "response_format"}


def written(request: ChatRequest, to: Destination, drops: Drops, options: GenericOptions) -> Json:
    """The body to send."""
    template = options.request.body
    asks_for = placeholders(template)
    values = _values(request, options)
    for name, value in values.items():
        if name not in asks_for and value is not None and value not in ("", []):
            drops.note(_CALLED.get(name, name))
    _note_what_has_no_place(request, drops)
    conversation = Conversation(request.messages, options.request.messages, drops)
    if "system" in asks_for:
        values["system"] = conversation.without_instructions()
    if "messages" in asks_for:
        values["messages"] = conversation.messages()
    if "prompt" in asks_for:
        values["prompt"] = conversation.prompt(options)
    values["model"] = to.upstream_model
    values["stream"] = request.stream and options.stream.format != "none"
    body = rendered(template, values)
    return {} if body is NOTHING else body


def _values(request: ChatRequest, options: GenericOptions) -> Json:
    """What is asked for beside the conversation, by placeholder."""
    form, thinking = request.response_format, request.reasoning
    is_schema = form is not None and form.kind == "json_schema"
    return {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop": request.stop,
        "seed": request.seed,
        # Without a penalty is how models are anyway.
        "presence_penalty": request.presence_penalty or None,
        "frequency_penalty": request.frequency_penalty or None,
        "user": request.user,
        "tools": [_tool(tool, options.request.tool) for tool in request.tools],
        "tool_choice": _choice(request.tool_choice),
        "response_schema": form.schema if form is not None and is_schema else None,
        "reasoning_effort": (thinking.effort or "medium") if thinking and thinking.enabled else "",
    }


def _note_what_has_no_place(request: ChatRequest, drops: Drops) -> None:
    given = {
        "n": request.n > 1,
        "logprobs": request.logprobs,
        "top_logprobs": request.top_logprobs,
        "logit_bias": request.logit_bias,
        "parallel_tool_calls": request.parallel_tools is False,
        "strict": any(tool.strict for tool in request.tools),
        "cache_control": request.is_marked,
        "response_format": request.response_format
        and request.response_format.kind != "json_schema",
    }
    for name in (name for name, is_given in given.items() if is_given):
        drops.note(name)


def _tool(tool: Tool, template: Any) -> Any:
    told = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return rendered(template, told)


def _choice(choice: ToolChoice | None) -> Any:
    """As OpenAI writes it, which others have taken over."""
    if choice is None:
        return None
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


@dataclass(slots=True)
class Turn:
    """What one message says; the result of a tool is one by itself."""

    role: str
    parts: list[Part] = field(default_factory=list)
    name: str = ""
    call_id: str = ""


class Conversation:
    """A conversation on its way into the templates of a provider."""

    def __init__(self, messages: Iterable[Message], templates: Messages, drops: Drops) -> None:
        self._turns = [turn for message in messages for turn in _turns(message)]
        self._templates = templates
        self._drops = drops
        self._asks_for = placeholders(templates.message)
        self._called = {
            part.id: part.name
            for turn in self._turns
            for part in turn.parts
            if isinstance(part, ToolCall)
        }

    def without_instructions(self) -> str:
        """Take the instructions out, and return them as one text."""
        told = [_words(turn.parts) for turn in self._turns if turn.role == "system"]
        self._turns = [turn for turn in self._turns if turn.role != "system"]
        return "\n\n".join(told)

    def messages(self) -> list[Any]:
        told = (rendered(self._templates.message, self._values(turn)) for turn in self._turns)
        return [message for message in told if message is not NOTHING]

    def prompt(self, options: GenericOptions) -> str:
        """All turns as one text."""
        turns = []
        for turn in self._turns:
            self._note_beside_words(turn)
            told = {"role": self._role(turn), "content": _words(turn.parts)}
            words = rendered(options.request.prompt.turn, told)
            turns.append(words if isinstance(words, str) else "")
        return "".join(turns) + options.request.prompt.end

    def _note_beside_words(self, turn: Turn) -> None:
        """Note what of a turn is no text. Thoughts are no loss: who did not think them, forgets."""
        if turn.name:
            self._drops.note("name")
        for part in turn.parts:
            if isinstance(part, Media):
                self._drops.note_media(part)
            elif isinstance(part, ToolCall):
                self._drops.note("messages")

    def _role(self, turn: Turn) -> str:
        return str(getattr(self._templates.roles, turn.role))

    def _values(self, turn: Turn) -> Json:
        """What the template of a message can hold."""
        thoughts = [part.text for part in turn.parts if isinstance(part, Thinking)]
        calls = [self._call(part) for part in turn.parts if isinstance(part, ToolCall)]
        told = {
            "thinking": "\n".join(filter(None, thoughts)),
            "tool_calls": [call for call in calls if call is not NOTHING],
            "name": turn.name,
        }
        for name, value in told.items():
            if value and name not in self._asks_for and name != "thinking":
                self._drops.note(name)
        return told | {
            "role": self._role(turn),
            "content": self._content(turn),
            "images": self._images(turn),
            "tool_call_id": turn.call_id,
            "tool_name": self._called.get(turn.call_id),
        }

    def _call(self, call: ToolCall) -> Any:
        told = {"id": call.id, "name": call.name, "arguments_text": call.arguments or "{}"}
        return rendered(self._templates.tool_call, told | {"arguments": _object(call.arguments)})

    def _content(self, turn: Turn) -> Any:
        """The content, as a text or in pieces."""
        if self._templates.text is None:
            return _words(turn.parts)
        pieces = (self._piece(part) for part in turn.parts)
        return [piece for piece in pieces if piece is not NOTHING]

    def _piece(self, part: Part) -> Any:
        match part:
            case Text(text=text) | Refusal(text=text):
                return rendered(self._templates.text, {"text": text})
            case Media(kind="image") if self._templates.image is not None:
                return self._image(part)
        return NOTHING

    def _image(self, image: Media) -> Any:
        kind = image.media_type or "image/png"
        url = image.url or f"data:{kind};base64,{image.data}"
        told = {"url": url, "data": image.data, "media_type": kind}
        if not image.data and "data" in placeholders(self._templates.image):
            self._drops.note("image_url")
            return NOTHING
        return rendered(self._templates.image, told)

    def _images(self, turn: Turn) -> list[str]:
        """The bytes of images, for a format that has them beside the text. Notes other media."""
        images = []
        for media in (part for part in turn.parts if isinstance(part, Media)):
            if media.kind == "image" and self._templates.image is not None:
                continue
            if media.kind == "image" and media.data and "images" in self._asks_for:
                images.append(media.data)
            else:
                self._drops.note_media(media)
        return images


def _turns(message: Message) -> Iterator[Turn]:
    """A message without the results of tools in it, and each of those."""
    said = Turn(message.role, name=message.name)
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield Turn("tool", _told_by(part), call_id=part.call_id)
        else:
            said.parts.append(part)
    if said.parts:
        yield said


def _told_by(result: ToolResult) -> list[Part]:
    """What a tool has said, with a word that it failed where it did."""
    media = [part for part in result.parts if isinstance(part, Media)]
    return [Text(words_of(result)), *media]


def _words(parts: Iterable[Part]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, Text | Refusal))


def _object(arguments: str) -> Any:
    try:
        return loads(arguments or "{}")
    except ValueError:
        return {"arguments": arguments}
