"""The items of an answer in OpenAI's Responses format while they are being written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import orjson

from gateway.canonical import Media
from gateway.dialects.base import Json, items, mapping
from gateway.dialects.openai_responses.events import Events
from gateway.dialects.signatures import ANTHROPIC, marked

#: The one argument of a function that stands for a tool with free input.
FREE_INPUT = "input"
#: Marks thoughts that nobody may see, among those whose words may be seen.
REDACTED = marked(ANTHROPIC, "redacted.")


class Item(ABC):
    """One item: opened, added to, and closed, once each."""

    __slots__ = ("events", "is_told", "item_id", "output_index")
    prefix: ClassVar[str]

    def __init__(self, events: Events, item_id: str, output_index: int) -> None:
        self.events = events
        self.item_id = item_id
        self.output_index = output_index
        #: Whether the whole of what was added last has been told already.
        self.is_told = False

    @property
    def place(self) -> Json:
        return {"item_id": self.item_id, "output_index": self.output_index}

    def opened(self) -> bytes:
        return self.events.event(
            "response.output_item.added",
            output_index=self.output_index,
            item=self.told("in_progress"),
        )

    def closed(self, status: str) -> bytes:
        return self._end_of_content() + self.events.event(
            "response.output_item.done", output_index=self.output_index, item=self.told(status)
        )

    def resume(self, words: str, *, is_told: bool) -> None:
        """Take over an item that somebody else has begun, with the words that are not done."""
        self.is_told = is_told

    @abstractmethod
    def told(self, status: str) -> Json:
        """The item as it is now."""

    def _end_of_content(self) -> bytes:
        return b""


class MessageItem(Item):
    """What the model says: texts and refusals."""

    __slots__ = ("_annotations", "_logprobs", "_open", "_parts", "_words")
    prefix = "msg"

    def __init__(self, events: Events, item_id: str, output_index: int) -> None:
        super().__init__(events, item_id, output_index)
        self._parts: list[Json] = []
        #: The kind of the part that is being written; empty if there is none.
        self._open = ""
        self._words: list[str] = []
        self._annotations: list[Json] = []
        self._logprobs: list[Json] = []

    def say(self, words: str) -> bytes:
        return self._begin("output_text") + self._delta(
            "response.output_text.delta", words, logprobs=[]
        )

    def refuse(self, words: str) -> bytes:
        return self._begin("refusal") + self._delta("response.refusal.delta", words)

    def annotate(self, annotation: Json) -> bytes:
        frames = self._begin("output_text")
        self._annotations.append(annotation)
        return frames + self.events.event(
            "response.output_text.annotation.added",
            **self._part_place,
            annotation_index=len(self._annotations) - 1,
            annotation=annotation,
        )

    def note_logprobs(self, tokens: list[Json]) -> None:
        self._logprobs += [_logprob(token) for token in tokens]

    def begin(self, parts: list[Json], kind: str) -> None:
        """The parts that somebody else has written, and the kind of the one still open."""
        self._parts, self._open = parts, kind

    def resume(self, words: str, *, is_told: bool) -> None:
        super().resume(words, is_told=is_told)
        self._words = [words]

    def told(self, status: str) -> Json:
        return {
            "id": self.item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": self._parts,
        }

    @property
    def _part_place(self) -> Json:
        return {**self.place, "content_index": len(self._parts)}

    def _begin(self, kind: str) -> bytes:
        if self._open == kind:
            return b""
        frames = self._end_of_content()
        self._open = kind
        return frames + self.events.event(
            "response.content_part.added", **self._part_place, part=self._part()
        )

    def _delta(self, kind: str, words: str, **more: Any) -> bytes:
        self._words.append(words)
        return self.events.event(kind, **self._part_place, delta=words, **more)

    def _part(self) -> Json:
        words = "".join(self._words)
        if self._open == "refusal":
            return {"type": "refusal", "refusal": words}
        return {
            "type": "output_text",
            "annotations": self._annotations,
            "logprobs": self._logprobs,
            "text": words,
        }

    def _end_of_content(self) -> bytes:
        if not self._open:
            return b""
        part, place = self._part(), self._part_place
        frames = b"" if self.is_told else self._whole(part)
        frames += self.events.event("response.content_part.done", **place, part=part)
        self._parts.append(part)
        self._open, self._words, self._annotations, self._logprobs = "", [], [], []
        self.is_told = False
        return frames

    def _whole(self, part: Json) -> bytes:
        if self._open == "refusal":
            told = {"refusal": part["refusal"]}
        else:
            told = {"text": part["text"], "logprobs": part["logprobs"]}
        return self.events.event(f"response.{self._open}.done", **self._part_place, **told)


class ReasoningItem(Item):
    """What the model thought, as a summary, and what signs it."""

    __slots__ = ("_is_open", "_parts", "_signature", "_words")
    prefix = "rs"

    def __init__(self, events: Events, item_id: str, output_index: int) -> None:
        super().__init__(events, item_id, output_index)
        #: Those that somebody else has written: Courier writes only one.
        self._parts: list[Json] = []
        self._is_open = False
        self._words: list[str] = []
        self._signature = ""

    def think(self, words: str) -> bytes:
        frames = b""
        if not self._is_open:
            self._is_open = True
            frames = self.events.event(
                "response.reasoning_summary_part.added", **self._part_place, part=_summary("")
            )
        self._words.append(words)
        return frames + self.events.event(
            "response.reasoning_summary_text.delta", **self._part_place, delta=words
        )

    def sign(self, signature: str) -> None:
        self._signature = signature

    def begin(self, parts: list[Json], kind: str) -> None:
        """The parts that somebody else has written, and the kind of the one still open."""
        self._parts, self._is_open = parts, bool(kind)

    def resume(self, words: str, *, is_told: bool) -> None:
        super().resume(words, is_told=is_told)
        self._words = [words]

    def told(self, status: str) -> Json:
        words = "".join(self._words)
        told: Json = {
            "id": self.item_id,
            "type": "reasoning",
            "summary": [*self._parts, _summary(words)] if words else self._parts,
        }
        if self._signature:
            told["encrypted_content"] = self._signature
        return told

    @property
    def _part_place(self) -> Json:
        return {**self.place, "summary_index": len(self._parts)}

    def _end_of_content(self) -> bytes:
        if not self._is_open:
            return b""
        self._is_open = False
        words, place = "".join(self._words), self._part_place
        kind = "response.reasoning_summary"
        whole = b"" if self.is_told else self.events.event(f"{kind}_text.done", **place, text=words)
        return whole + self.events.event(f"{kind}_part.done", **place, part=_summary(words))


class CallItem(Item):
    """A call of a function."""

    __slots__ = ("_arguments", "call_id", "name")
    prefix = "fc"

    def __init__(self, events: Events, item_id: str, output_index: int) -> None:
        super().__init__(events, item_id, output_index)
        self.name = self.call_id = ""
        self._arguments: list[str] = []

    def call(self, call_id: str, name: str) -> bytes:
        """Open the item."""
        self.call_id, self.name = call_id, name
        return self.opened()

    def argue(self, arguments: str) -> bytes:
        self._arguments.append(arguments)
        return self.events.event(
            "response.function_call_arguments.delta", **self.place, delta=arguments
        )

    def resume(self, words: str, *, is_told: bool) -> None:
        super().resume(words, is_told=is_told)
        self._arguments = [words]

    @property
    def arguments(self) -> str:
        return "".join(self._arguments)

    @property
    def is_whole(self) -> bool:
        """Whether nothing can be added to the arguments any more."""
        try:
            return isinstance(orjson.loads(self.arguments), dict)
        except orjson.JSONDecodeError:
            return False

    def told(self, status: str) -> Json:
        return {
            "id": self.item_id,
            "type": "function_call",
            "status": status,
            "arguments": "" if status == "in_progress" else self.arguments,
            "call_id": self.call_id,
            "name": self.name,
        }

    def _end_of_content(self) -> bytes:
        return b"" if self.is_told else self._whole()

    def _whole(self) -> bytes:
        return self.events.event(
            "response.function_call_arguments.done",
            **self.place,
            name=self.name,
            arguments=self.arguments,
        )


class CustomCallItem(CallItem):
    """A call of a tool with free input."""

    __slots__ = ()
    prefix = "ctc"

    def argue(self, arguments: str) -> bytes:
        self._arguments.append(arguments)
        return self._delta(arguments)

    def _delta(self, words: str) -> bytes:
        return self.events.event("response.custom_tool_call_input.delta", **self.place, delta=words)

    @property
    def _input(self) -> str:
        return self.arguments

    def told(self, status: str) -> Json:
        return {
            "id": self.item_id,
            "type": "custom_tool_call",
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            "input": "" if status == "in_progress" else self._input,
        }

    def _whole(self) -> bytes:
        return self.events.event(
            "response.custom_tool_call_input.done", **self.place, input=self._input
        )


class WrappedCallItem(CustomCallItem):
    """A call of a tool with free input, which the model was shown as a function."""

    __slots__ = ()

    def argue(self, arguments: str) -> bytes:
        # The input stands inside JSON: it is told when all of it is there.
        self._arguments.append(arguments)
        return b""

    def _whole(self) -> bytes:
        return self._delta(self._input) + super()._whole()

    @property
    def _input(self) -> str:
        try:
            told = mapping(orjson.loads(self.arguments)).get(FREE_INPUT)
        except orjson.JSONDecodeError:
            told = None
        return told if isinstance(told, str) else self.arguments


class ImageItem(Item):
    """An image that the model made."""

    __slots__ = ("_media",)
    prefix = "ig"

    def show(self, media: Media) -> bytes:
        """The whole item at once."""
        self._media = media
        return self.opened() + self.closed("completed")

    def told(self, status: str) -> Json:
        done = status != "in_progress"
        return {
            "id": self.item_id,
            "type": "image_generation_call",
            "status": status,
            "result": (self._media.data or self._media.url) if done else None,
        }


class OtherItem(Item):
    """An item of a kind that Courier never writes itself, but may have to end."""

    __slots__ = ("item",)
    item: Json

    def told(self, status: str) -> Json:
        return {**self.item, "status": "failed"}


def _summary(words: str) -> Json:
    return {"type": "summary_text", "text": words}


def _logprob(token: Json) -> Json:
    """A token's figures with all that the format insists on."""
    return {**_figures(token), "top_logprobs": [_figures(best) for best in _best(token)]}


def _figures(token: Mapping[str, Any]) -> Json:
    return {
        "token": token.get("token") or "",
        "bytes": token.get("bytes") or [],
        "logprob": token.get("logprob") or 0.0,
    }


def _best(token: Json) -> Iterable[Mapping[str, Any]]:
    return map(mapping, items(token.get("top_logprobs")))
