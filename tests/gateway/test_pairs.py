"""Every answer of every upstream format reaches clients of every format, well formed.

A client's format joins in by having a module in `tests/gateway/validators`: its `check(stream)`,
`check_whole(body)` for answers in one piece, and what the format has no words for, if anything:
`CANNOT_TELL` (facts) and `TELLS` (classes of usage).
"""

import importlib
from pathlib import Path

import orjson
import pytest

from gateway import errors, sse
from gateway.canonical import Started, opened_id
from gateway.dialects.base import ClientHalf
from gateway.interpreter import TranslatingWatch
from lib.tokens import TokenUsage
from tests.gateway import validators
from tests.gateway.wire_cases import REQUEST, UPSTREAM, all_cases, like, runs_of

VALIDATORS = sorted(
    path.stem for path in Path(validators.__file__).parent.glob("*.py") if path.stem != "__init__"
)
CLIENTS = [
    dialect
    for _, dialect in sorted(UPSTREAM.items())
    if isinstance(dialect, ClientHalf) and dialect.task == "chat"
]
CASES = [case for case in all_cases() if case.translates and case.dialect.task == "chat"]
#: What the target was asked for, for vendors that do not name it in their answers.
MODEL = "alpha-tiny"
BASIC_USAGE = frozenset({"input_tokens", "output_tokens"})
TOLD = ("text", "thinking", "tool_calls", "finish")
#: Of an answer that ends early, as Courier counts it.
USED = TokenUsage(input_tokens=7, output_tokens=3)
BASIC = {"input_tokens": 7, "output_tokens": 3}


def validator_of(client):
    """The module that checks what is written to such clients: its name begins the format's."""
    name = client.name.replace("-", "_")
    found = max((stem for stem in VALIDATORS if name.startswith(stem)), key=len)
    return importlib.import_module(f"tests.gateway.validators.{found}")


def pairs(cases):
    return pytest.mark.parametrize(
        ("client", "case"),
        [
            pytest.param(client, case, id=f"{case} to {client.name}")
            for client in CLIENTS
            for case in cases
        ],
    )


def check_told(case, answer, validator):
    """All that the client's format can tell has arrived."""
    untold = set(getattr(validator, "CANNOT_TELL", ()))
    expected = case.expected(*(name for name in TOLD if name not in untold))
    if "tool_calls" in untold and expected.get("finish") == "tool_calls":
        expected["finish"] = "stop"
    calls = expected.pop("tool_calls", None)
    assert {name: getattr(answer, name) for name in expected} == expected
    if calls is not None:
        assert like([_opened(call) for call in answer.tool_calls], calls) == calls
    tells = getattr(validator, "TELLS", BASIC_USAGE)
    if "usage" in case.facts:
        of_both = {name: n for name, n in case.facts["usage"].items() if name in tells}
        assert {name: n for name, n in answer.usage.items() if name in tells} == of_both


def _opened(call):
    return {**call, "id": opened_id(call["id"])[0]} if "id" in call else call


async def written(client, case):
    """What the client is sent, as the gateway writes it."""
    watch = TranslatingWatch(case.dialect.stream_reader(), client.stream_writer(REQUEST), MODEL)
    sent = b"".join([watch.see(run) for run in await runs_of(case, [case.content])])
    if not watch.is_complete and not watch.failure:
        sent += watch.close()
    if not watch.is_complete:
        error = errors.StreamInterrupted("The provider broke off in the middle of the stream.")
        sent += watch.error_frame(error, "00000000-0000-0000-0000-000000000000")
    return sent


@pairs([case for case in CASES if case.streams])
async def test_a_stream_is_written_as_the_clients_format_wants_it(client, case):
    validator = validator_of(client)

    answer = validator.check(await written(client, case))

    assert answer.complete is case.is_complete
    if case.is_complete:
        check_told(case, answer, validator)


@pairs([case for case in CASES if not case.streams and not case.fails])
def test_a_whole_answer_is_written_as_the_clients_format_wants_it(client, case):
    validator = validator_of(client)
    events = case.dialect.read_response(orjson.loads(case.content))
    for event in events:
        if isinstance(event, Started):
            event.model = event.model or MODEL
    asked = {**REQUEST, "stream": False}

    body = client.write_response(events, asked)

    if hasattr(validator, "check_whole"):
        check_told(case, validator.check_whole(orjson.loads(orjson.dumps(body))), validator)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_every_format_of_clients_has_a_validator(client):
    assert callable(validator_of(client).check)


#: A call that is cut off in its arguments is none.
OF_WORDS = [case for case in CASES if case.streams and not case.facts.get("tool_calls")]


@pairs([case for case in OF_WORDS if not case.fails])
async def test_a_stream_that_a_budget_ends_is_whole_wherever_that_is(client, case):
    validator = validator_of(client)
    frames = sse.split(b"".join(await runs_of(case, [case.content])))
    for seen in range(1, len(frames)):
        watch = TranslatingWatch(case.dialect.stream_reader(), client.stream_writer(REQUEST), MODEL)
        sent = b"".join(map(watch.see, frames[:seen]))
        if watch.is_complete or not watch.has_output:
            continue

        answer = validator.check(sent + watch.ending("budget_exceeded", USED))

        assert answer.complete
        assert {name: answer.usage.get(name) for name in BASIC_USAGE} == BASIC
