"""What a request may ask for at most, and that no way of asking gets around it."""

import json

import pytest

from gateway.schemas.bounds import MOST_BIASES, MOST_STOPS, MOST_TOOLS
from lib.strict_json import LONGEST_TEXT
from tests.faults.raw import talk
from tests.gateway.conftest import HELLO

TRANSCRIBE = "/v1/audio/transcriptions"
CHAT, MESSAGES, GENERATE = "/v1/chat/completions", "/v1/messages", "/v1beta/models/tiny"
TURN = {"role": "user", "parts": [{"text": "x"}]}
TOOL = {"type": "function", "function": {"name": "f"}}


def chat_body(**fields):
    return {"model": "tiny", "messages": [HELLO], **fields}


def biased(count):
    return {str(each): 1 for each in range(count)}


def message_body(**fields):
    return {"model": "tiny", "messages": [HELLO], "max_tokens": 5, **fields}


#: A request with so much of something: where, what, its bound, and which field is named.
BOUNDED = [
    (CHAT, lambda n: chat_body(n=n), 8, "n"),
    (CHAT, lambda n: chat_body(messages=[HELLO] * n), 10_000, "messages"),
    (CHAT, lambda n: chat_body(stop=["x"] * n), MOST_STOPS, "stop"),
    (CHAT, lambda n: chat_body(tools=[TOOL] * n), MOST_TOOLS, "tools"),
    (CHAT, lambda n: chat_body(functions=[{}] * n), MOST_TOOLS, "functions"),
    (CHAT, lambda n: chat_body(logit_bias=biased(n)), MOST_BIASES, "logit_bias"),
    ("/v1/completions", lambda n: {"model": "tiny", "prompt": "x", "best_of": n}, 8, "best_of"),
    ("/v1/responses", lambda n: {"model": "tiny", "input": [HELLO] * n}, 10_000, "input"),
    (MESSAGES, lambda n: message_body(messages=[HELLO] * n), 10_000, "messages"),
    (MESSAGES, lambda n: message_body(stop_sequences=["x"] * n), MOST_STOPS, "stop_sequences"),
    (f"{GENERATE}:generateContent", lambda n: {"contents": [TURN] * n}, 10_000, "contents"),
    (
        f"{GENERATE}:generateContent",
        lambda n: {"contents": [TURN], "generationConfig": {"candidateCount": n}},
        8,
        "candidateCount",
    ),
]  # fmt: skip


async def test_s41_of_each_a_request_may_ask_for_so_much_and_no_more(courier, key):
    for path, body_with, bound, field in BOUNDED:
        refused = await courier.post(path, body_with(bound + 1), key=key)
        assert (path, field, refused.status) == (path, field, 400)
        assert f"at most {bound} ".encode() in refused.content
        assert field.encode() in refused.content
        for within in (bound - 1, bound):
            reply = await courier.post(path, body_with(within), key=key)
            assert b"at most" not in reply.content, (path, field)


@pytest.mark.parametrize("number", ["1000000000", "1e9", "9223372036854775807", "9" * 30, "1e400"])
async def test_s41_a_billion_answers_are_refused(courier, upstream, key, number):
    body = json.dumps(chat_body(n="here")).replace('"here"', number).encode()

    reply = await courier.request("POST", CHAT, key=key, content=body)

    assert reply.status == 400
    assert upstream.requests == []


async def test_s41_who_needs_more_is_given_more(chat, settings):
    settings.COURIER_MAX_CHOICES, settings.COURIER_MAX_MESSAGES = 16, 2

    assert (await chat(n=16)).status == 200
    assert (await chat(messages=[HELLO] * 3)).status == 400


NAMES = ["tiny\x00", "\x00", "ti\nny", "tiny\x7f", "\x1b[31mtiny"]


async def test_s42_a_name_that_cannot_be_printed_is_none(chat, courier, key):
    for name in NAMES:
        replies = [
            await chat(model=name),
            await courier.post(MESSAGES, message_body(model=name), key=key),
            await courier.post("/v1/embeddings", {"model": name, "input": "x"}, key=key),
        ]
        assert [reply.status for reply in replies] == [400] * 3


TWICE = [
    b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"model":"other"}',
    b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"\\u006dodel":"other"}',
    b'{"model":"tiny","messages":[{"role":"user","content":"x","content":"y"}]}',
    b'{"model":"tiny","max_tokens":1,"messages":[{"role":"user","content":"x"}],"max_tokens":9}',
    b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"n":1,"n":8}',
]


async def test_s42_what_is_there_twice_reaches_nobody(courier, upstream, key):
    for body in TWICE:
        reply = await courier.request("POST", CHAT, key=key, content=body)
        assert (reply.status, reply.error["type"]) == (400, "invalid_request_error")
        assert "duplicate" in reply.error["message"]

    assert upstream.requests == []


async def test_s42_the_bytes_that_were_read_are_those_that_are_sent(courier, upstream, key):
    body = (
        b'{"messages":[{"role":"user","content":"\\u0041\\/ \xc3\xa9"}],"model" :"tiny","x":1.50}'
    )

    await courier.request("POST", CHAT, key=key, content=body)

    assert upstream.requests[0].body == body.replace(b'"tiny"', b'"alpha-tiny"')


async def test_a_long_name_that_is_there_twice_is_not_told_in_full(courier, key):
    name = b'"' + b"x" * 100_000 + b'":1'

    reply = await courier.request("POST", CHAT, key=key, content=b"{" + name + b"," + name + b"}")

    assert reply.status == 400
    assert len(reply.content) < 1000


def padded(size):
    """A chat request of so many bytes."""
    body = json.dumps(chat_body(messages=[{"role": "user", "content": ""}])).encode()
    return body.replace(b'"content": ""', b'"content": "%s"' % (b"x" * (size - len(body))))


def form(size):
    """A form of so many bytes, for a model that nobody serves."""
    begin = (
        b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nnone\r\n'
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    )
    end = b"\r\n--b--\r\n"
    return begin + b"x" * (size - len(begin) - len(end)) + end


WAYS = {
    "JSON": (CHAT, b"application/json", padded),
    "JSON in other letters": (CHAT, b"Application/JSON; Charset=UTF-8", padded),
    "JSON without a type": (CHAT, b"", padded),
    "JSON as text": (CHAT, b"text/plain", padded),
    "JSON as a form of fields": (CHAT, b"application/x-www-form-urlencoded", padded),
    "a form": (TRANSCRIBE, b"multipart/form-data; boundary=b", form),
    "a form in other letters": (TRANSCRIBE, b"MULTIPART/Form-Data; boundary=b", form),
}


@pytest.mark.parametrize("in_chunks", [False, True])
async def test_s45_the_bound_of_a_body_holds_however_it_is_sent(courier, key, settings, in_chunks):
    settings.COURIER_MAX_BODY = settings.COURIER_MAX_UPLOAD = 2000
    for way, (path, kind, body_of) in WAYS.items():
        told = []
        for size in (1999, 2000, 2001):
            body = body_of(size)
            assert len(body) == size
            replies = await talk(courier.port, post(path, kind, key, body, in_chunks), quiet_s=0.02)
            assert replies, (way, size)
            told.append(replies[0].status == 413)
        assert (way, told) == (way, [False, False, True])


def post(path, kind, key, body, in_chunks):
    pieces = [body[start : start + 700] for start in range(0, len(body), 700)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    length = b"transfer-encoding: chunked" if in_chunks else b"content-length: %d" % len(body)
    return (
        b"POST %s HTTP/1.1\r\nhost: here\r\nx-api-key: %s\r\ncontent-type: %s\r\n%s\r\n\r\n%s"
    ) % (path.encode(), key.secret.encode(), kind, length, chunks if in_chunks else body)


async def test_whoever_lets_larger_bodies_in_lets_larger_files_in(chat, settings):
    settings.COURIER_MAX_BODY = 20 * 1024 * 1024
    content = "x" * (LONGEST_TEXT + 1)

    assert (await chat(messages=[{"role": "user", "content": content}])).status == 200
