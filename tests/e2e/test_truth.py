"""R01 and R02: the log against what the upstream itself knows that it sent."""

import asyncio
import collections
import contextlib

import pytest

from tests.e2e.client import BROKEN, Call
from tests.e2e.manifests import manifest
from tests.fakes.upstream import (
    CUT,
    DONE,
    HELLO,
    OPENING,
    STOP,
    Answer,
    Pause,
    chunk,
    completion,
    error_body,
    usage_chunk,
    usage_of,
)
from tests.services import wait_for
from tests.soak import trials

REQUESTS = trials(600, 20_000)
AT_ONCE = 50
#: Of the model, in nano-dollars per token.
INPUT, OUTPUT = 1000, 2000
KINDS = (
    "whole",
    "whole",
    "stream",
    "stream",
    "silent",
    "cut",
    "refused",
    "failed",
    "left",
    "whole",
)


class Truth:
    """What the upstream sent, by the number of the request."""

    def __init__(self):
        self.calls = collections.Counter()

    def answer(self, request):
        number = int(request["user"].removeprefix("n-"))
        self.calls[number] += 1
        sent = usage_of(*self.usage(number))
        match KINDS[number % len(KINDS)]:
            case "whole":
                return Answer((completion(usage=sent),))
            case "stream":
                return Answer((OPENING, HELLO, STOP, usage_chunk(*self.usage(number)), DONE))
            case "silent":
                return Answer((OPENING, HELLO, chunk(" there."), STOP, DONE))
            case "cut":
                return Answer((OPENING, HELLO, Pause(0.02), CUT))
            case "refused":
                return Answer((error_body(),), status=400)
            case "failed":
                return Answer((error_body(),), status=503)
        return Answer((OPENING, HELLO, Pause(0.4), STOP, usage_chunk(*self.usage(number)), DONE))

    @staticmethod
    def usage(number):
        return number % 53 + 1, number % 31 + 1


@pytest.fixture
def truth(shared_upstream):
    truth = Truth()
    shared_upstream.default = truth.answer
    return truth


async def play(courier, number):
    kind = KINDS[number % len(KINDS)]
    streams = kind in {"stream", "silent", "cut", "left"}
    call = Call(
        courier, stream=streams, user=f"n-{number}", headers={"X-Request-Id": f"n-{number}"}
    )
    with contextlib.suppress(*BROKEN):
        async with call:
            if kind == "left":
                await call.read_head()
                await call.read_piece()
            else:
                await call.read()


async def play_all(courier):
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number):
        async with places:
            await play(courier, number)

    await asyncio.gather(*(one(number) for number in range(REQUESTS)))


@pytest.mark.timeout(300 + REQUESTS // 20)
async def test_r01_r02_the_log_equals_what_the_upstream_sent(
    launch, shared_upstream, kind_of_database, truth
):
    courier = launch(manifest(shared_upstream.url), database=kind_of_database)

    await play_all(courier)
    await asyncio.to_thread(wait_for, lambda: not shared_upstream.busy_connections, "its end", 60)
    await asyncio.to_thread(courier.wait_for_records, REQUESTS, 30)
    await asyncio.to_thread(courier.settled)

    rows = courier.records(
        "client_request_id, outcome, usage_source, input_tokens, output_tokens, cost_nano, attempts"
    )
    by_kind = collections.Counter(KINDS[int(row[0][2:]) % len(KINDS)] for row in rows)
    print(f"\n{kind_of_database}: {len(rows)} records of {REQUESTS} requests: {dict(by_kind)}")
    assert collections.Counter(row[0] for row in rows) == {
        f"n-{number}": 1 for number in range(REQUESTS)
    }
    for name, outcome, source, given, said, cost, attempts in rows:
        number = int(name[2:])
        kind = KINDS[number % len(KINDS)]
        assert attempts == truth.calls[number], name
        if kind in {"whole", "stream"}:
            assert (outcome, source) == ("ok", "provider"), name
            assert (given, said) == truth.usage(number), name
        elif kind == "silent":
            assert (outcome, source, said) == ("ok", "estimated", 3), name
        elif kind == "left" and outcome == "ok":
            # It left when all of it was there already.
            assert (source, given, said) == ("provider", *truth.usage(number)), name
        elif kind in {"cut", "left"}:
            assert source == "estimated", name
            assert said in {0, 1}, name
        else:
            assert (source, cost) == ("none", 0), name
        assert cost == given * INPUT + said * OUTPUT, name
