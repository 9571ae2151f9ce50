"""The item of a passing stream that is still open, in case that Courier has to end it."""

from __future__ import annotations

from gateway.dialects.base import Json, integer, mapping
from gateway.dialects.openai_responses.client_items import (
    CallItem,
    CustomCallItem,
    Item,
    MessageItem,
    OtherItem,
    ReasoningItem,
)
from gateway.dialects.openai_responses.events import Events
from gateway.dialects.seen_words import SeenWords

_CALLS = {"function_call": CallItem, "custom_tool_call": CustomCallItem}
#: Fields of the events that tell the whole of what came in pieces.
_WHOLE = ("text", "refusal", "arguments", "input")


class Underway:
    """What its events have told of one item. `start` is where its words begin, in bytes."""

    __slots__ = ("_item", "_output_index", "_part", "_parts", "_start", "began", "_whole")

    def __init__(self, event: Json, start: int) -> None:
        self._item = dict(mapping(event.get("item")))
        self._output_index = integer(event.get("output_index"))
        #: The parts that are done, and the kind of the one that is not.
        self._parts: list[Json] = []
        self._part = ""
        #: Where the item's words begin, and those of its open part.
        self.began = self._start = start
        #: What is being said as a whole, once that has been told.
        self._whole: str | None = None

    @property
    def is_message(self) -> bool:
        return self._item.get("type") == "message"

    def see(self, event: Json, start: int) -> None:
        """Note an event of the item's that is more than a few words."""
        kind = str(event.get("type"))
        if kind.endswith("part.added"):
            self._part = str(mapping(event.get("part")).get("type") or "")
            self._start = start
        elif kind.endswith("part.done"):
            self._parts.append(dict(mapping(event.get("part"))))
            self._part, self._whole, self._start = "", None, start
        else:
            told = (event[name] for name in _WHOLE if isinstance(event.get(name), str))
            self._whole = next(told, self._whole)

    def taken_over(self, events: Events, words: SeenWords) -> Item:
        """The item, to be closed by us."""
        item = self._made(events)
        said = words.text_from(self._start) if self._whole is None else self._whole
        item.resume(said, is_told=self._whole is not None)
        return item

    def _made(self, events: Events) -> Item:
        place = (events, str(self._item.get("id") or ""), self._output_index)
        kind = str(self._item.get("type"))
        if kind == "message":
            message = MessageItem(*place)
            message.begin(self._parts, self._part)
            return message
        if kind == "reasoning":
            reasoning = ReasoningItem(*place)
            reasoning.begin(self._parts, self._part)
            return reasoning
        if kind in _CALLS:
            call = _CALLS[kind](*place)
            call.name, call.call_id = str(self._item.get("name")), str(self._item.get("call_id"))
            return call
        other = OtherItem(*place)
        other.item = self._item
        return other
