"""An answer whose end cannot be written down: nobody gets it whole, and nobody pays for more."""

import os

import pytest

from accounts import states
from accounts.principals import authenticate
from tests import factories
from tests.fakes.upstream import completion
from tests.gateway.conftest import in_thread
from tests.gateway.test_attempts import attempts_of
from usage import frames, recorder
from usage.models import UsageRecord

KEY = {"idempotency-key": "order-4711"}


@pytest.fixture
def refused():
    """The kind of line that the disk has no room for."""
    return frames.CLOSE


@pytest.fixture
async def full(courier, key, monkeypatch, refused):
    """A disk without room for the end of a request; `await full.emptied()` makes some."""
    await courier.make(lambda: factories.make_limit(key=key, metric="tokens", amount=10_000))
    write = os.write

    def refuse(descriptor, data):
        if data[frames.HEAD_BYTES :].startswith(refused):
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", refuse)

        class Full:
            async def emptied(self):
                disk.undo()
                await in_thread(recorder._recorder._spool.check_disk)
                recorder.check_writable()

        yield Full()


async def tokens_used(key):
    (limit,) = await states.limit_states(await authenticate(key.secret))
    return limit.amount - limit.remaining


async def test_r01_r40_a_whole_answer_that_cannot_be_written_down_is_not_charged(
    chat, courier, full, key
):
    reply = await chat()
    await full.emptied()

    assert (reply.status, reply.code) == (503, "usage_log_unavailable")
    record = await courier.last_record()
    assert (record.outcome, record.end_reason, record.status) == (reply.code, "refused", 503)
    assert (record.cost_nano, record.input_tokens, await tokens_used(key)) == (0, 0, 0)


@pytest.mark.parametrize("refused", [frames.OPEN])
async def test_r40_a_request_that_cannot_be_opened_asks_nobody_and_holds_nothing(
    chat, full, key, upstream
):
    reply = await chat()

    assert (reply.status, reply.code) == (503, "usage_log_unavailable")
    assert upstream.requests == []
    assert await tokens_used(key) == 0


async def test_r01_r40_what_it_cost_at_the_provider_is_known(chat, courier, full):
    await chat()
    await full.emptied()

    (attempt,) = await attempts_of(await courier.last_record())
    assert (attempt.outcome, attempt.received) == ("ok", False)
    assert (attempt.cost_nano > 0, attempt.usage_source) == (True, "provider")


async def test_r01_r40_of_a_stream_what_was_sent_is_charged(chat, courier, full, key):
    reply = await chat(stream=True)
    await full.emptied()

    assert reply.failure["code"] == "usage_log_unavailable"
    record = await courier.last_record()
    assert (record.outcome, record.end_reason) == ("usage_log_unavailable", "interrupted")
    assert record.cost_nano > 0
    assert await tokens_used(key) == record.input_tokens + record.output_tokens


async def test_r40_an_answer_that_was_not_charged_may_be_asked_for_again(
    chat, courier, full, upstream
):
    upstream.will_answer(completion("lost"))
    await chat(headers=KEY)
    await full.emptied()
    upstream.will_answer(completion("mine"))

    reply = await chat(headers=KEY)

    assert reply.json["choices"][0]["message"]["content"] == "mine"
    await courier.record(reply.request_id)
    assert sorted(await in_thread(_outcomes)) == ["ok", "usage_log_unavailable"]


def _outcomes():
    return list(UsageRecord.objects.values_list("outcome", flat=True))
