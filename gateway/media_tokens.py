"""How many tokens an image, a document or a sound is, from the first bytes of its file."""

from __future__ import annotations

import base64
import binascii
import re
import struct

from gateway.canonical import Media
from lib.image_size import Size, size_of
from lib.vocabularies import Vocabulary

#: Of an image whose size cannot be seen: it is somewhere else, or of a kind unknown.
USUAL_IMAGE: Size = (1024, 1024)
#: How much of an image is looked at for its size, and of a document for its pages, in bytes.
_HEAD = 64 * 1024
_MOST_OF_A_DOCUMENT = 1024 * 1024
#: A page of a document whose pages cannot be seen, in bytes, and its words in tokens.
BYTES_PER_PAGE = 50 * 1024
WORDS_PER_PAGE = 500
#: A second of sound whose kind is not known: as an MP3 of 128 kbit/s.
BYTES_PER_SECOND = 16_000
_PAGE = re.compile(rb"/Type\s*/Page[^s]")


def tokens_of(media: Media, vocabulary: Vocabulary) -> int:
    """Tokens of an image, a document or a sound, beside the words that can be read of it."""
    match media.kind:
        case "image":
            width, height = size_of(_head(media, _HEAD)) or USUAL_IMAGE
            return vocabulary.images.tokens(width, height, small=media.detail == "low")
        case "audio":
            return _seconds(media) * vocabulary.per_second
        case "document":
            return 0 if words_in(media) else _pages(media) * (vocabulary.per_page + WORDS_PER_PAGE)


def words_in(media: Media) -> str:
    """The words of a document that is a text; empty for all others."""
    if media.kind != "document" or not media.media_type.startswith("text/"):
        return ""
    return _head(media, _MOST_OF_A_DOCUMENT).decode(errors="replace")


def _pages(media: Media) -> int:
    """Of a PDF, as many as it names; else by its length."""
    head = _head(media, _MOST_OF_A_DOCUMENT)
    is_whole = len(head) < _MOST_OF_A_DOCUMENT
    named = len(_PAGE.findall(head)) if is_whole else 0
    return named or max(_size(media) // BYTES_PER_PAGE, 1)


def _seconds(media: Media) -> int:
    head = _head(media, 32)
    rate = BYTES_PER_SECOND
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE" and len(head) >= 32:
        (rate,) = struct.unpack_from("<I", head, 28)
    return max(round(_size(media) / (rate or BYTES_PER_SECOND)), 1)


def _size(media: Media) -> int:
    return len(media.data) * 3 // 4


def _head(media: Media, most: int) -> bytes:
    """The beginning of the file, at least `most` bytes of it where it has those."""
    try:
        return base64.b64decode(media.data[: -(-most // 3) * 4])
    except (binascii.Error, ValueError):
        return b""
