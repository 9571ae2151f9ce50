"""The tools that provoke faults do what they say: nobody else tests them."""

import asyncio
import time

import httpx
import pytest

from tests.fakes.upstream import CUT, HELLO, OPENING, RESET, STALL, Pause
from tests.faults.proxy import Way
from tests.faults.raw import Talk, talk
from tests.faults.upstream import Again, head, stream, whole

CHAT = "/v1/chat/completions"


async def ask(port, model, **body):
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        body = {"model": model, "messages": [], **body}
        headers = {"authorization": "Bearer sk-one"}
        return await client.post(f"http://127.0.0.1:{port}{CHAT}", json=body, headers=headers)


async def answered(chaos, model):
    """How the only answer for this model ended, which is noted a moment after its last byte."""
    async with asyncio.timeout(30):
        while not (answers := chaos.answers(model)):
            await asyncio.sleep(0.01)
    return answers[0]


async def test_a_model_without_steps_answers_and_its_tokens_are_on_record(chaos):
    answer = await ask(chaos.port, "any")

    usage = answer.json()["usage"]
    told = await answered(chaos, "any")
    assert told.tokens == [usage["prompt_tokens"], usage["completion_tokens"]]
    assert (told.how, chaos.requests()[0].key) == ("complete", "sk-one")
    assert chaos.requests("any")[0].json["messages"] == []


async def test_a_model_without_steps_streams_as_many_words_as_its_name_says(chaos):
    answer = await ask(chaos.port, "words-40", stream=True)

    assert answer.text.count('"content":"word "') == 40
    assert answer.text.endswith("data: [DONE]\n\n")


async def test_steps_are_played_as_they_are_and_those_for_once_come_first(chaos):
    chaos.always("sick", *whole(b"{}", 503, retry_after=7))
    chaos.once("sick", b"SIP/2.0 nonsense\r\n\r\n", CUT)

    nonsense = await talk(chaos.port, _request("sick"))
    answer = await ask(chaos.port, "sick")

    assert nonsense.raw == b"SIP/2.0 nonsense\r\n\r\n"
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


@pytest.mark.parametrize(("ending", "how"), [(CUT, "cut"), (RESET, "reset")])
async def test_how_an_answer_ended_is_on_record(chaos, ending, how):
    chaos.once("sick", *stream(OPENING, HELLO, ending))

    replies = await talk(chaos.port, _request("sick"))

    assert (replies.was_closed, (await answered(chaos, "sick")).how) == (True, how)


async def test_a_client_that_leaves_is_on_record(chaos):
    chaos.once("sick", *stream(OPENING, HELLO, STALL))

    async with Talk(chaos.port) as connection:
        await connection.send(_request("sick"))
        await connection.read_some()

    assert (await answered(chaos, "sick")).how == "left"
    assert chaos.open_connections == 0


async def test_the_same_is_sent_again_and_again(chaos):
    chaos.once("sick", head(length=3000), Again(b"abc", times=1000))

    assert (await ask(chaos.port, "sick")).content == b"abc" * 1000


async def test_what_was_recorded_before_is_forgotten(chaos):
    await ask(chaos.port, "any")
    chaos.forget()

    assert chaos.requests() == []


async def test_a_proxy_delays_what_passes(chaos, fault_proxy):
    proxy = fault_proxy(chaos.port)
    proxy.latency_s = 0.15
    began = time.monotonic()

    assert (await ask(proxy.port, "any")).status_code == 200
    assert time.monotonic() - began >= 0.3


async def test_a_proxy_slows_and_slices_what_passes(chaos, fault_proxy):
    proxy = fault_proxy(chaos.port)
    proxy.rate, proxy.slice = 10_000, 100
    chaos.once("large", *whole(b"x" * 3000))
    began = time.monotonic()

    assert len((await ask(proxy.port, "large")).content) == 3000
    assert time.monotonic() - began >= 0.3


async def test_a_black_hole_holds_everything_until_it_is_restored(chaos, fault_proxy):
    proxy = fault_proxy(chaos.port)
    proxy.blackhole()
    waiting = asyncio.ensure_future(ask(proxy.port, "any"))
    await asyncio.sleep(0.2)
    assert (waiting.done(), chaos.requests()) == (False, [])

    proxy.restore()

    assert (await waiting).status_code == 200


async def test_a_port_can_be_closed_and_opened_again(chaos, fault_proxy):
    proxy = fault_proxy(chaos.port)
    proxy.refuse()
    with pytest.raises(httpx.ConnectError):
        await ask(proxy.port, "any")

    proxy.restore()

    assert (await ask(proxy.port, "any")).status_code == 200


async def test_a_connection_is_cut_after_so_many_bytes(chaos, fault_proxy):
    proxy = fault_proxy(chaos.port)
    proxy.cut_after(20, Way.DOWN)

    replies = await talk(proxy.port, _request("any"))

    assert (len(replies.raw), replies.was_closed, proxy.cuts) == (20, True, 1)


async def test_a_connection_is_cut_where_a_pattern_has_passed(chaos, fault_proxy):
    proxy = fault_proxy(chaos.port)
    proxy.slice = 7
    proxy.cut_at(b"OK\r\ncontent", Way.DOWN)

    assert (await talk(proxy.port, _request("any"))).raw == b"HTTP/1.1 200 OK\r\ncontent"


async def test_what_is_cut_on_its_way_up_arrives_and_its_answer_is_lost(chaos, fault_proxy):
    proxy = fault_proxy(chaos.port)
    proxy.cut_at(b'"model"', Way.UP)

    replies = await talk(proxy.port, _request("any"))

    assert (replies.raw, replies.was_closed) == (b"", True)
    assert (await answered(chaos, "any")).how == "complete"


async def test_all_connections_can_be_reset(chaos, fault_proxy):
    proxy = fault_proxy(chaos.port)
    async with Talk(proxy.port) as connection:
        await connection.send(_request("any"))
        await connection.read_reply()
        proxy.reset()

        await connection.closed_within(30)
    async with asyncio.timeout(30):
        while proxy.open_connections:
            await asyncio.sleep(0.01)


async def test_every_answer_of_a_connection_is_read(chaos):
    replies = await talk(
        chaos.port, _request("one") + _request("two"), Pause(0.01), _request("three"), answers=3
    )

    assert [reply.json["model"] for reply in replies] == ["one", "two", "three"]
    assert (replies.was_closed, replies[0].header("content-type")) == (False, "application/json")


async def test_an_answer_that_is_cut_is_not_whole(chaos):
    chaos.once("sick", *stream(HELLO, CUT))

    (reply,) = await talk(chaos.port, _request("sick"))

    assert (reply.body, reply.is_whole) == (HELLO, False)


def _request(model):
    body = b'{"model":"%s"}' % model.encode()
    return b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (
        CHAT.encode(), len(body), body,
    )  # fmt: skip
