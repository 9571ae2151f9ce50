"""What the built-in upstream answers where images and sound are asked for: very small ones."""

from __future__ import annotations

import base64
import struct
import time
import zlib
from typing import Any

#: Samples of a second of sound, of one byte each, and how long a word takes.
RATE = 8000
SAMPLES_PER_WORD = RATE // 4
_SILENCE = b"\x80"


def images(asked: Any) -> dict[str, Any]:
    """As many images as were asked for: one gray pixel each."""
    number = asked.get("n") or 1
    image = {"b64_json": base64.b64encode(_png()).decode()}
    tokens = len(str(asked.get("prompt")).split())
    details = {"text_tokens": tokens, "image_tokens": 0}
    usage = {
        "input_tokens": tokens,
        "input_tokens_details": details,
        "output_tokens": number,
        "total_tokens": tokens + number,
    }
    return {"created": int(time.time()), "data": [image] * number, "usage": usage}


def speech(asked: Any) -> bytes:
    """A quarter of a second of silence for each word, as a WAV file."""
    sound = _SILENCE * SAMPLES_PER_WORD * max(len(str(asked.get("input")).split()), 1)
    shape = struct.pack("<HHIIHH", 1, 1, RATE, RATE, 1, 8)
    chunks = b"".join(
        name + struct.pack("<I", len(data)) + data
        for name, data in ((b"fmt ", shape), (b"data", sound))
    )
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def _png() -> bytes:
    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0\x80")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def transcription(size: int) -> dict[str, Any]:
    """A form of so many bytes is sound to nobody, but it has a length."""
    seconds = max(size // RATE, 1)
    said = f"A form of {size} bytes."
    return {"text": said, "usage": {"type": "duration", "seconds": seconds}}
