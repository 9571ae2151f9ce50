"""Binary messages of AWS's streams, as a server writes them."""

import json
import struct
from zlib import crc32


def header(name, value, kind=7):
    """One header; `value` is its bytes on the wire, counted for the kinds that are counted."""
    counted = struct.pack(">H", len(value)) if kind in {6, 7} else b""
    return bytes([len(name)]) + name.encode() + bytes([kind]) + counted + value


def message(headers, payload=b""):
    """One message with these headers: a mapping of strings, or a block that is ready."""
    if isinstance(headers, dict):
        headers = b"".join(header(name, value.encode()) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", crc32(whole))


def event(name, **payload):
    """One event, padded as Bedrock pads."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    text = json.dumps({**payload, "p": "abcdefg"}, separators=(",", ":"), ensure_ascii=False)
    return message(headers, text.encode())


def exception(name, text):
    headers = {":exception-type": name, ":content-type": "application/json"}
    payload = json.dumps({"message": text}).encode()
    return message({**headers, ":message-type": "exception"}, payload)
