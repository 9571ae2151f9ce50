"""Parts of a message's content in chat completions: texts, images, documents, sounds, thoughts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from gateway.canonical import Json, Media, Part, Refusal, Text, Thinking
from gateway.dialects import openai_fields as fields
from gateway.dialects.base import items, mapping
from gateway.errors import BadRequest

#: Formats of sounds by their media types, and back.
_SOUNDS = {"mp3": "audio/mpeg", "wav": "audio/wav"}
_FORMATS = {media_type: name for name, media_type in _SOUNDS.items()} | {"audio/mp3": "mp3"}


# From a client


def read_content(message: Json, where: str) -> list[Part]:
    """The parts of a message's content, a text or a list. Raises BadRequest."""
    content = message.get("content")
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)] if content else []
    if not isinstance(content, list):
        raise BadRequest(
            f"Invalid {where + 'content'!r}: it must be a string or a list of parts.",
            param=where + "content",
        )
    return [
        _marked(_read_part(part, f"{where}content.{place}"), part)
        for place, part in enumerate(content)
    ]


def cache_of(given: Mapping[str, Any]) -> str:
    """How long the prompt up to here is worth caching: "5m", "1h", or empty.

    The field is Anthropic's; OpenRouter and LiteLLM take it in this format.
    """
    told = given.get("cache_control")
    if not isinstance(told, dict):
        return ""
    return "1h" if told.get("ttl") == "1h" else "5m"


def _marked(part: Part, given: Json) -> Part:
    if isinstance(part, Text | Media):
        part.cache = cache_of(given)
    return part


def _read_part(part: Any, where: str) -> Part:
    reader = _READERS.get(str(mapping(part).get("type")))
    if reader is None:
        raise BadRequest(
            f"Invalid '{where}.type': the provider of this model takes "
            f"{', '.join(sorted(_READERS))}.",
            param=f"{where}.type",
        )
    return reader(part, f"{where}.")


def _read_text(part: Json, where: str) -> Part:
    return Text(fields.text(part, "text", where))


def _read_refusal(part: Json, where: str) -> Part:
    return Refusal(fields.text(part, "refusal", where))


def _read_image(part: Json, where: str) -> Part:
    given = part.get("image_url")
    image = {"url": given} if isinstance(given, str) else fields.object_(part, "image_url", where)
    where += "image_url."
    media = located("image", fields.text(image, "url", where), f"{where}url")
    media.detail = fields.text(image, "detail", where)
    return media


def read_sound(part: Json, where: str) -> Part:
    sound = fields.object_(part, "input_audio", where)
    where += "input_audio."
    form = fields.text(sound, "format", where)
    media_type = _SOUNDS.get(form, f"audio/{form}" if form else "")
    return Media("audio", media_type, _needed(fields.text(sound, "data", where), f"{where}data"))


def _read_file(part: Json, where: str) -> Part:
    file = fields.object_(part, "file", where)
    where += "file."
    data, file_id = fields.text(file, "file_data", where), fields.text(file, "file_id", where)
    if not data and file_id and "://" not in file_id:
        raise BadRequest(
            "The provider of this model has no access to files by their id. "
            "Send the file itself as 'file_data'.",
            param=f"{where}file_id",
        )
    media = located("document", data or file_id, f"{where}file_data")
    media.name = fields.text(file, "filename", where)
    return media


def _read_thoughts(part: Json, where: str) -> Part:
    return Thinking(thoughts_in(part), fields.text(part, "signature", where))


def _read_hidden_thoughts(part: Json, where: str) -> Part:
    return Thinking("", redacted=fields.text(part, "data", where))


_READERS: dict[str, Callable[[Json, str], Part]] = {
    "text": _read_text,
    "refusal": _read_refusal,
    "image_url": _read_image,
    "input_audio": read_sound,
    "file": _read_file,
    "thinking": _read_thoughts,
    "redacted_thinking": _read_hidden_thoughts,
}


def thoughts_in(part: Mapping[str, Any]) -> str:
    """The words of a part of thoughts: a text, or a list of parts of text (Mistral)."""
    told = part.get("thinking")
    if isinstance(told, str):
        return told
    words = (mapping(each).get("text") for each in items(told))
    return "".join(word for word in words if isinstance(word, str))


def located(kind: Any, url: str, where: str) -> Media:
    """What a URL or a data URI names; base64 alone is taken for data."""
    _needed(url, where)
    if url.startswith("data:"):
        return _from_data(kind, url, where)
    if "://" not in url and kind == "document":
        return Media(kind, "application/pdf", url)
    return Media(kind, url=url)


def _from_data(kind: Any, uri: str, where: str) -> Media:
    """A data URI (RFC 2397)."""
    head, comma, data = uri.removeprefix("data:").partition(",")
    media_type, *parameters = head.split(";")
    if not comma:
        raise BadRequest(f"Invalid {where!r}: a data URI has a comma before its data.", param=where)
    if "base64" not in parameters:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return Media(kind, media_type or "text/plain", data)


def _needed(value: str, where: str) -> str:
    if not value:
        raise BadRequest(f"Invalid {where!r}: it is missing.", param=where)
    return value


# For a vendor


def data_uri(media: Media) -> str:
    """Where the thing is, or the thing itself."""
    return media.url or f"data:{media.media_type};base64,{media.data}"


def write_media(media: Media) -> Json | None:
    """A part that holds the thing; None where the format has no place for it."""
    match media:
        case Media(kind="image"):
            detail = {"detail": media.detail} if media.detail else {}
            return {"type": "image_url", "image_url": {"url": data_uri(media), **detail}}
        case Media(kind="audio", data=str(data)) if data:
            form = _FORMATS.get(media.media_type) or media.media_type.partition("/")[2]
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
        case Media(kind="document") if media.data:
            return _write_document(media)
        case _:
            return None


def _write_document(media: Media) -> Json:
    if media.media_type.startswith("text/"):
        return {"type": "text", "text": "\n\n".join(filter(None, [media.name, _decoded(media)]))}
    name = media.name or "document." + media.media_type.rpartition("/")[2]
    return {"type": "file", "file": {"filename": name, "file_data": data_uri(media)}}


def _decoded(media: Media) -> str:
    try:
        return base64.b64decode(media.data, validate=True).decode(errors="replace")
    except binascii.Error:
        raise BadRequest("A document's data must be base64.") from None


# In an answer


def media_in(part: Any) -> Iterator[Media]:
    """The image that a part of an answer holds, if it holds one."""
    url = mapping(mapping(part).get("image_url")).get("url")
    if not isinstance(url, str) or not url:
        return
    if url.startswith("data:") and "," in url:
        yield _from_data("image", url, "")
    else:
        yield Media("image", url=url)
