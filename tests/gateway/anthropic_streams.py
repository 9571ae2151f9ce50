"""Answers in Anthropic's format, for the scripted upstream."""

import json


def event(payload):
    """One event of a stream, with its name."""
    data = json.dumps(payload, separators=(",", ":"))
    return f"event: {payload['type']}\ndata: {data}\n\n".encode()


def delta(text, index=0):
    words = {"type": "text_delta", "text": text}
    return event({"type": "content_block_delta", "index": index, "delta": words})


def stream_of(*texts, usage=None, stop_reason="end_turn", model="alpha-tiny"):
    """The frames of a stream of text."""
    usage = usage or {"input_tokens": 7, "output_tokens": 3}
    shell = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**NOTHING, **usage, "output_tokens": 1},
    }
    block = {"type": "text", "text": ""}
    ended = {"stop_reason": stop_reason, "stop_sequence": None}
    return (
        event({"type": "message_start", "message": shell}),
        event({"type": "content_block_start", "index": 0, "content_block": block}),
        *map(delta, texts),
        event({"type": "content_block_stop", "index": 0}),
        event({"type": "message_delta", "delta": ended, "usage": {**NOTHING, **usage}}),
        event({"type": "message_stop"}),
    )


def message(text="Hello there.", *, usage=None, **more):
    """A whole message, as bytes."""
    return json.dumps(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "alpha-tiny",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {**NOTHING, **(usage or {"input_tokens": 7, "output_tokens": 3})},
            **more,
        }
    ).encode()


NOTHING = {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
STREAM = stream_of("Hello", " there.")
