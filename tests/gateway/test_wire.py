"""Answers as vendors sent them are understood, however the network cuts them."""

import json

import orjson
import pytest

from gateway import canonical
from tests.gateway.wire_cases import (
    REQUEST,
    UPSTREAM,
    WIRE,
    all_cases,
    cost_of,
    facts_of,
    gathered,
    like,
    runs_of,
    told_usage,
)

CASES = all_cases()
STREAMS = [case for case in CASES if case.streams]
WHOLE = [case for case in CASES if not case.streams]
TOLD = ("text", "thinking", "finish", "usage", "cost_nano")
#: Streams up to so many bytes are cut in pieces of every size; of longer ones, some sizes.
SMALL = 4096


def of_cases(cases):
    return pytest.mark.parametrize("case", cases, ids=str)


def pieces_of(stream, size):
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def sizes(stream):
    """In pieces of how many bytes a stream is replayed; the last is one burst."""
    length = len(stream)
    if length <= SMALL:
        return range(1, length + 1)
    return sorted({*range(1, 65), *range(65, length, length // 97 + 1), length})


def cuts(stream):
    """Where a stream is cut in two."""
    return range(1, len(stream), len(stream) // SMALL + 1)


async def every_run(case, stream):
    """Each different way in which the frames of `stream` can arrive."""
    ways = [pieces_of(stream, size) for size in sizes(stream)]
    ways += [[stream[:cut], stream[cut:]] for cut in cuts(stream)]
    return sorted({await runs_of(case, pieces) for pieces in ways})


def read(case, runs):
    """The events of a stream, up to its end or failure, as the gateway reads it."""
    reader = case.dialect.stream_reader()
    events = []
    for run in runs:
        events += reader.read(run)
        if any(isinstance(event, canonical.Ended | canonical.Failed) for event in events):
            return events
    return [*events, *reader.close()]


def watched(case, runs):
    """A watch over the stream, and what passed, up to its end or failure."""
    watch = case.dialect.watch(REQUEST)
    passed = b""
    for run in runs:
        passed += watch.see(run)
        if watch.is_complete or watch.failure:
            return watch, passed
    return watch, passed + watch.close()


def check_read(case, events):
    answer = gathered(events)
    facts = facts_of(answer)
    assert {name: facts[name] for name in case.expected(*TOLD)} == case.expected(*TOLD)
    if "tool_calls" in case.facts:
        assert like(answer.tool_calls, case.facts["tool_calls"]) == case.facts["tool_calls"]
    assert any(isinstance(event, canonical.Failed) for event in events) is case.fails
    assert answer.complete is case.is_complete


def check_watched(case, watch):
    usage = told_usage(watch.usage) if watch.usage else {}
    found = {"usage": usage, "cost_nano": cost_of(usage)}
    assert {name: found[name] for name in case.expected(*found)} == case.expected(*found)
    assert watch.is_complete is case.is_complete
    assert bool(watch.failure) is case.fails
    if case.facts.get("text") or case.facts.get("tool_calls"):
        assert watch.has_output


@of_cases([case for case in STREAMS if case.translates])
async def test_a_stream_is_read_however_it_is_cut(case):
    for runs in await every_run(case, case.content):
        check_read(case, read(case, runs))


@of_cases([case for case in STREAMS if case.passes])
async def test_a_stream_that_passes_is_seen_however_it_is_cut(case):
    for runs in await every_run(case, case.content):
        watch, passed = watched(case, runs)
        check_watched(case, watch)
        assert b"".join(runs).startswith(passed)


def with_crlf(case):
    return case.content.replace(b"\n", b"\r\n")


EVENT_STREAMS = [
    case
    for case in STREAMS
    if case.dialect.stream_type == "text/event-stream" and b"\r" not in case.content
]


@of_cases([case for case in EVENT_STREAMS if case.translates])
async def test_a_stream_with_crlf_is_read_however_it_is_cut(case):
    for runs in await every_run(case, with_crlf(case)):
        check_read(case, read(case, runs))


@of_cases([case for case in EVENT_STREAMS if case.passes])
async def test_a_stream_with_crlf_that_passes_is_seen_however_it_is_cut(case):
    for runs in await every_run(case, with_crlf(case)):
        watch, _ = watched(case, runs)
        check_watched(case, watch)


@of_cases([case for case in WHOLE if case.translates])
def test_a_whole_answer_is_read(case):
    body = orjson.loads(case.content)

    assert bool(case.dialect.failure_in(body)) is case.fails
    if not case.fails:
        assert case.dialect.is_answer(body)
        check_read(case, [*case.dialect.read_response(body), canonical.Ended()])


@of_cases([case for case in WHOLE if case.passes and not case.fails])
def test_the_usage_of_a_whole_answer_that_passes_is_seen(case):
    usage = case.dialect.usage_in(orjson.loads(case.content))

    found = {"usage": told_usage(usage) if usage else {}}
    found["cost_nano"] = cost_of(found["usage"])
    assert {name: found[name] for name in case.expected(*found)} == case.expected(*found)


def test_every_answer_is_of_a_format_that_some_provider_speaks():
    assert {folder.name for folder in WIRE.iterdir()} <= UPSTREAM.keys()


def test_every_answer_has_its_facts_and_says_where_it_is_from():
    answers = [path for path in WIRE.glob("*/*") if not path.name.endswith(".facts.json")]
    facts = [path.with_name(f"{path.name.rpartition('.')[0]}.facts.json") for path in answers]

    assert [path.name for path in facts if not json.loads(path.read_text()).get("source")] == []
