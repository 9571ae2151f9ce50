"""Whatever a provider answers, it is an answer or a provider's failure, and can be counted."""

import contextlib
import json

import orjson
import pytest
from hypothesis import given, settings

from gateway import attempt, errors, metering
from gateway.dialects.base import ClientHalf
from gateway.interpreter import Translated, Verbatim
from gateway.kinds import provider_of
from gateway.question import Question
from lib.errors import CourierError
from tests.gateway.rough_bodies import REQUESTS, SEEDS, VALUES, nested, spoilt
from tests.gateway.targets import make_target
from tests.gateway.wire_cases import all_cases

TARGET = make_target()
CASES = all_cases()
#: Frames of this one are binary.
BINARY = "bedrock-converse"


def between(case, client):
    """An interpreter for such an answer to such a client; None if there is none."""
    _, body = REQUESTS[client]
    question = Question(client, "tiny", orjson.dumps(body), {"model": "tiny", **body}, case.streams)
    if client is case.dialect:
        return Verbatim(question, TARGET, case.dialect)
    if case.translates and isinstance(client, ClientHalf) and client.task == case.dialect.task:
        return Translated(question, TARGET, client, case.dialect)
    return None


def interpreters(case):
    return filter(None, (between(case, client) for client in REQUESTS))


def count(one, usage, said):
    used = metering.metered(one.question, usage, said, "gpt-4o").usage
    assert all(type(getattr(used, name)) is int for name in used.__slots__)
    assert used.input_tokens >= 0 <= used.output_tokens
    return used


def see(one, content):
    """Have the stream watched to its end, or to its first fault."""
    watch, framing = one.watch(), one.dialect.framing()
    with contextlib.suppress(ValueError):
        for start in range(0, len(content), 100):
            frames = framing.feed(content[start : start + 100])
            if frames:
                watch.see(frames)
            watch.output_estimate()
            if watch.failure is not None or watch.is_complete:
                break
        else:
            watch.close()
    if watch.failure is not None:
        assert isinstance(provider_of("openai").stream_error(TARGET, watch.failure), CourierError)
    return watch


def spoilt_stream(content, seed):
    """The stream with one of its events spoilt."""
    lines = content.split(b"\n")
    places = [
        i for i, line in enumerate(lines) if line.startswith((b"data:", b"{")) and b"{" in line
    ]
    place = places[seed % len(places)]
    before, brace, rest = lines[place].partition(b"{")
    with contextlib.suppress(orjson.JSONDecodeError):
        lines[place] = before + orjson.dumps(spoilt(orjson.loads(brace + rest.strip()), seed))
    return b"\n".join(lines)


@pytest.mark.parametrize("case", [case for case in CASES if not case.streams], ids=str)
@given(seed=SEEDS)
@settings(max_examples=25)
def test_a_whole_answer_is_read_or_malformed(case, seed):
    content = orjson.dumps(spoilt(orjson.loads(case.content), seed))
    for one in interpreters(case):
        try:
            answer = attempt._read(one, content, TARGET)
        except CourierError:
            continue
        count(one, answer.usage, answer.said)


STREAMS = [case for case in CASES if case.streams and case.folder != BINARY]


@pytest.mark.parametrize("case", STREAMS, ids=str)
@given(seed=SEEDS)
@settings(max_examples=15)
def test_a_stream_is_read_or_malformed(case, seed):
    content = spoilt_stream(case.content, seed)
    for one in interpreters(case):
        watch = see(one, content)
        used = count(one, watch.usage, watch.seen_text())
        assert watch.error_frame(errors.ShuttingDown(), "id")
        assert isinstance(watch.ending("budget_exceeded", used), bytes)


@pytest.mark.parametrize("case", [case for case in CASES if not case.streams], ids=str)
@pytest.mark.parametrize("answer", [*VALUES, {"error": nested(200)}, nested(300)], ids=repr)
def test_any_json_is_read_or_malformed(case, answer):
    for one in interpreters(case):
        with contextlib.suppress(CourierError):
            attempt._read(one, _json(answer), TARGET)


def _json(value):
    """Also of what orjson would not write."""

    return json.dumps(value).encode()
