"""However an answer ends: one record, the right reason, and nothing held any longer."""

import asyncio
from dataclasses import dataclass

import pytest

from registry.models import Provider
from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import CUT, DONE, HEARD, HELLO, OPENING, STALL, STOP, STREAM, frame
from tests.fakes.upstream import completion as whole_answer
from tests.gateway.conftest import WITHIN_S, in_thread, until
from usage.models import UsageRecord

TOKENS = 1000
WHOLE = whole_answer("Once upon a time.")
ERROR = {"error": {"message": "The model fell over in the middle of nowhere."}}


@dataclass(frozen=True)
class Ending:
    """What the upstream sends, when the client leaves, and what must be on record."""

    parts: tuple
    outcome: str
    end_reason: str
    status: int
    usage_source: str
    output_tokens: int
    #: After how many bytes of the body the client leaves; -1 before anything came.
    leaves_after: int | None = None


ENDINGS = {
    "complete, streamed": Ending(STREAM, "ok", "complete", 200, "provider", 3),
    "complete, whole": Ending((WHOLE,), "ok", "complete", 200, "provider", 3),
    "client gone before the first token, streamed": Ending(
        (OPENING, STALL), "client_disconnected", "client_gone", 499, "estimated", 0, -1
    ),
    "client gone before the first token, whole": Ending(
        (WHOLE[:1], STALL), "client_disconnected", "client_gone", 499, "estimated", 0, -1
    ),
    "client gone midway, streamed": Ending(
        (OPENING, HELLO, STALL), "client_disconnected", "client_gone", 499, "estimated", 1, 1
    ),
    "client gone midway, whole": Ending(
        (WHOLE[:40], STALL), "client_disconnected", "client_gone", 499, "estimated", 0, -1
    ),
    "upstream cut, streamed": Ending(
        (OPENING, HELLO, HEARD, CUT), "stream_interrupted", "upstream_cut", 200, "estimated", 1
    ),
    "upstream cut, whole": Ending(
        (WHOLE[:40], CUT), "upstream_unavailable", "refused", 503, "none", 0
    ),
    "upstream error after 200, streamed": Ending(
        (OPENING, HELLO, HEARD, frame(ERROR), STALL),
        "stream_interrupted", "upstream_cut", 200, "estimated", 1,
    ),
    "upstream error after 200, whole": Ending(
        (frame(ERROR)[6:],), "upstream_unavailable", "refused", 503, "none", 0
    ),
    "no usage, streamed": Ending((HELLO, STOP, DONE), "ok", "complete", 200, "estimated", 1),
    "no usage, whole": Ending(
        (WHOLE.replace(b'"usage"', b'"unusual"'),), "ok", "complete", 200, "estimated", 5
    ),
}  # fmt: skip


@pytest.fixture
def limits(key):
    factories.make_limit(key=key, metric="tokens", amount=TOKENS)
    factories.make_limit(key=key, metric="concurrency", amount=1)
    factories.make_limit(key=key, metric="requests", amount=50)


@pytest.fixture
async def once(limits, courier):
    """A model that is tried once."""

    def rows():
        model = factories.make_model("once", Provider.objects.get(name="alpha"), max_attempts=1)
        factories.make_price(model, input="1", output="2")

    await courier.make(rows)


async def play(courier, upstream, key, ending, streams):
    call = Call(courier, key=key.secret, model="once", stream=streams)
    async with call:
        if ending.leaves_after is None:
            await call.read()
        elif ending.leaves_after >= 0:
            await call.read_head()
            await call.read_piece()
        else:
            await until(lambda: upstream.busy_connections)


async def held(courier, key):
    """What is left of the limits, by metric."""
    reply = await courier.request("GET", "/v1/key", key=key)
    return {limit["metric"]: limit["remaining"] for limit in reply.json["limits"]}


@pytest.mark.parametrize("name", ENDINGS)
async def test_an_answer_is_recorded_and_settled_once(courier, once, upstream, key, name):
    ending = ENDINGS[name]
    upstream.will_answer(*ending.parts)

    await play(courier, upstream, key, ending, name.endswith("streamed"))

    record = await courier.last_record()
    assert (record.outcome, record.end_reason) == (ending.outcome, ending.end_reason)
    assert (record.status, record.usage_source) == (ending.status, ending.usage_source)
    assert record.output_tokens == ending.output_tokens
    assert (record.input_tokens > 0) is (ending.usage_source != "none")
    assert record.cost_nano == record.input_tokens * 1000 + record.output_tokens * 2000
    spent = record.input_tokens + record.output_tokens
    left = {"tokens": TOKENS - spent, "concurrency": 1, "requests": 49}
    async with asyncio.timeout(WITHIN_S):
        while await held(courier, key) != left:
            await asyncio.sleep(0.02)
    await until(lambda: not upstream.busy_connections)
    assert await in_thread(UsageRecord.objects.count) == 1
