"""A request that is sent again with its Idempotency-Key."""

import asyncio
import contextlib
import threading
import tracemalloc

import httpx
import pytest
import redis

from accounts.models import ApiKey
from gateway import claims, idempotency, tape
from gateway.claims import RedisClaims
from gateway.idempotency import Asked, First, Repeats
from gateway.idempotency_errors import (
    IdempotencyInProgress,
    IdempotencyUnavailable,
    OutcomeNotKept,
    OutcomeUnknown,
)
from gateway.relay import pulse
from gateway.reply import Reply
from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import (
    CUT,
    DONE,
    HELLO,
    OPENING,
    STOP,
    STREAM,
    USAGE,
    Gate,
    Pause,
    Until,
    completion,
)
from tests.gateway.conftest import WITHIN_S, in_thread, until
from tests.services import free_port
from usage.models import UsageRecord

KEY = {"idempotency-key": "order-4711"}
OVERLOADED = b'{"error": {"message": "busy"}}'


@pytest.fixture(params=["digest", "memory", "shared"])
def mode(request, settings):
    settings.COURIER_IDEMPOTENCY = request.param
    return request.param


@pytest.fixture
def keeps_answers(settings):
    settings.COURIER_IDEMPOTENCY = "shared" if settings.REDIS_URL else "memory"


@pytest.fixture
def call(courier, key):
    def make(**body):
        return Call(courier, key=key.secret, headers=KEY, **body)

    return make


async def ignore(message):
    """Send to nobody."""


ASKED = {"key_id": 1, "key": b"k", "path": "/v1/chat", "query": b"a=1", "body": b"{}"}


def asked(**other):
    return Asked(**ASKED | other)


@pytest.mark.parametrize(
    "other",
    [{"key_id": 2}, {"key": b"l"}, {"path": "/v1/other"}, {"path": "/v1/chatk", "key": b""}],
)
def test_a_key_is_that_of_one_caller_at_one_path(other):
    assert asked(**other).name != asked().name
    assert asked(**other).digest == asked().digest


@pytest.mark.parametrize(
    "other", [{"query": b"a=2"}, {"body": b"[]"}, {"query": b"", "body": b"a=1{}"}]
)
def test_a_request_is_the_same_with_the_same_query_and_body(other):
    assert asked(**other).digest != asked().digest
    assert asked(**other).name == asked().name


def test_what_is_hashed_is_cut_in_one_way_only():
    assert asked(query=b"a\0", body=b"b").digest != asked(query=b"a", body=b"\0b").digest


def test_names_are_of_no_use_to_those_without_the_pepper(settings):
    name = asked().name
    settings.COURIER_KEY_PEPPER = "another pepper that is long enough to be one"

    assert asked().name != name


def test_a_path_that_is_no_unicode_can_be_told_from_others():
    assert asked(path="/v1/\udcff").name != asked(path="/v1/\udcfe").name


@pytest.mark.parametrize("value", [b"k", b'"k"', b" k ", b'\t"k" '])
def test_quotes_and_space_around_a_key_are_no_part_of_it(value):
    assert idempotency.key_of(value) == b"k"


def test_what_was_sealed_with_a_key_that_is_gone_is_not_kept():
    assert idempotency._opened("gAAAAA-nothing-of-ours", tape.Answers()) is None


class Instance:
    """One of several processes, as far as idempotency keys are concerned."""

    def __init__(self, settings):
        self.repeats = Repeats()
        self.repeats._claims = RedisClaims(settings.REDIS_URL)

    async def answer(self, first, content):
        reply = Reply(ignore, [])
        async with self.repeats.recording(first, reply):
            reply.was_charged = True
            await reply.send_whole(200, [], content)


@pytest.fixture
async def instances(redis_server, settings):
    settings.COURIER_IDEMPOTENCY, settings.REDIS_URL = "shared", redis_server.url(9)
    made = Instance(settings), Instance(settings)
    for each in made:
        with contextlib.suppress(IdempotencyUnavailable):
            await each.repeats.join(asked(key=b"warm-%d" % id(each)))
    yield made
    for each in made:
        await each.repeats.close()
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
    settings.REDIS_URL = ""


async def test_another_instance_waits_for_the_answer(instances):
    one, other = instances
    first = await one.repeats.join(asked())
    waiting = asyncio.ensure_future(other.repeats.join(asked()))
    await asyncio.sleep(0.1)
    await one.answer(first, b"mine")

    found = await waiting

    assert (found.status, found._pieces) == (200, [b"mine"])


async def test_two_who_ask_one_instance_at_once_are_given_one_answer(instances, settings):
    settings.COURIER_IDEMPOTENCY = "memory"
    one, _ = instances

    found = await asyncio.gather(*(one.repeats.join(asked()) for _ in range(2)))

    (first,) = [each for each in found if isinstance(each, First)]
    assert first.tape in found


async def test_another_instance_does_not_wait_for_ever(instances, monkeypatch):
    monkeypatch.setattr(idempotency, "JOIN_S", 0.1)
    one, other = instances
    await one.repeats.join(asked())

    with pytest.raises(IdempotencyInProgress):
        await other.repeats.join(asked())


async def test_another_instance_does_not_wait_where_answers_are_not_shared(instances, settings):
    settings.COURIER_IDEMPOTENCY = "memory"
    one, other = instances
    await one.repeats.join(asked())

    with pytest.raises(IdempotencyInProgress):
        await other.repeats.join(asked())


async def test_the_outcome_of_an_instance_that_died_is_unknown(instances, monkeypatch):
    monkeypatch.setattr(claims, "LEASE_S", 0.05)
    one, other = instances
    await one.repeats.join(asked())
    await asyncio.sleep(0.1)

    with pytest.raises(OutcomeUnknown):
        await other.repeats.join(asked())


async def test_an_instance_that_is_at_it_is_known_to_be_alive(instances, monkeypatch):
    monkeypatch.setattr(claims, "LEASE_S", 1.5)
    monkeypatch.setattr(idempotency, "RENEW_EVERY_S", 0.02)
    monkeypatch.setattr(idempotency, "JOIN_S", 0.0)
    one, other = instances
    first = await one.repeats.join(asked())
    async with one.repeats.recording(first, Reply(ignore, [])):
        await asyncio.sleep(1.8)

        with pytest.raises(IdempotencyInProgress):
            await other.repeats.join(asked())


async def test_an_answer_that_is_too_large_for_redis_is_not_kept(instances, monkeypatch):
    monkeypatch.setattr(idempotency, "MOST_SEALED", 10)
    one, other = instances
    await one.answer(await one.repeats.join(asked()), b"mine")

    with pytest.raises(OutcomeNotKept):
        await other.repeats.join(asked())
    assert one.repeats._answers.used == 0


@pytest.mark.parametrize(("much", "in_a_thread"), [(0, True), (1024, False)])
async def test_what_takes_long_to_seal_is_sealed_in_a_thread(
    instances, monkeypatch, much, in_a_thread
):
    threads, sealed = [], idempotency._sealed
    monkeypatch.setattr(
        idempotency,
        "_sealed",
        lambda tape: threads.append(threading.current_thread()) or sealed(tape),
    )
    monkeypatch.setattr(idempotency, "MUCH", tape.PER_HEAD + much)
    one, other = instances

    await one.answer(await one.repeats.join(asked()), b"mine")

    assert [each is not threading.main_thread() for each in threads] == [in_a_thread]
    assert (await other.repeats.join(asked()))._pieces == [b"mine"]


async def test_an_answer_that_cannot_be_sealed_is_nobody_s(instances, monkeypatch):
    monkeypatch.setattr(idempotency, "JOIN_S", 0.0)
    monkeypatch.setattr(idempotency, "_sealed", lambda tape: 1 / 0)
    one, _ = instances
    with pytest.raises(ZeroDivisionError):
        await one.answer(await one.repeats.join(asked()), b"mine")

    with pytest.raises(IdempotencyInProgress):
        await one.repeats.join(asked())


async def test_what_an_instance_tells_last_is_told_before_it_stops(instances, settings):
    one, _ = instances
    await one.answer(await one.repeats.join(asked()), b"mine")

    await one.repeats.close()

    with redis.Redis.from_url(settings.REDIS_URL) as client:
        assert client.hget(f"courier:idempotency:{asked().name}", "s") == b"done"


async def test_only_so_many_may_go_on_whose_client_has_left(monkeypatch, settings):
    settings.COURIER_IDEMPOTENCY, settings.REDIS_URL = "memory", ""
    monkeypatch.setattr(idempotency, "MOST_DETACHED", 2)
    repeats, allowed = Repeats(), []
    for number in range(3):
        first = await repeats.join(asked(key=b"%d" % number))
        await repeats.join(asked(key=b"stays-%d" % number))
        allowed.append(repeats.may_go_on())
        first.tape.is_detached = True

    assert allowed == [True, True, False]


async def test_where_there_is_no_redis_what_is_shared_is_kept_here(chat, upstream, settings):
    settings.COURIER_IDEMPOTENCY, settings.REDIS_URL = "shared", ""
    await chat(headers=KEY)

    assert (await chat(headers=KEY)).headers["x-courier-replayed"] == "true"


async def test_what_is_kept_in_memory_is_not_in_redis(instances, settings):
    settings.COURIER_IDEMPOTENCY = "memory"
    one, other = instances
    await one.answer(await one.repeats.join(asked()), b"mine")

    assert (await one.repeats.join(asked()))._pieces == [b"mine"]
    with pytest.raises(OutcomeNotKept):
        await other.repeats.join(asked())


def listeners(courier):
    """How many hear an answer that somebody else has asked for."""
    running = courier.application._front_door.repeats._running.values()
    return sum(first.tape.listeners for first in running)


async def records(courier, count):
    """How many records there are once `count` have come."""
    await asyncio.sleep(0.3)
    async with asyncio.timeout(WITHIN_S):
        while await in_thread(UsageRecord.objects.count) < count:
            await asyncio.sleep(0.02)
    return await in_thread(UsageRecord.objects.count)


async def test_without_the_header_nothing_is_remembered(chat, upstream):
    await chat()
    await chat()

    assert len(upstream.requests) == 2


async def test_a_repeat_gets_the_same_answer(chat, courier, upstream, keeps_answers):
    first, again = await chat(headers=KEY), await chat(headers=KEY)

    assert again.content == first.content
    assert (again.headers["x-courier-replayed"], again.status) == ("true", 200)
    assert "x-courier-replayed" not in first.headers
    assert again.request_id != first.request_id
    assert len(upstream.requests) == await records(courier, 1) == 1


async def test_a_repeated_stream_is_the_same_stream(chat, upstream, keeps_answers):
    first, again = await chat(headers=KEY, stream=True), await chat(headers=KEY, stream=True)

    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert len(upstream.requests) == 1


async def test_many_repeats_at_once_make_one_call(chat, courier, upstream, mode):
    all_listen = Until(lambda: listeners(courier) == 49)
    upstream.will_answer(completion("mine"), after=all_listen)

    replies = await asyncio.gather(*(chat(headers=KEY) for _ in range(50)))

    assert len(upstream.requests) == await records(courier, 1) == 1
    assert {reply.content for reply in replies} == {replies[0].content}
    assert sum("x-courier-replayed" in reply.headers for reply in replies) == 49


async def test_a_repeat_joins_a_stream_in_the_middle(chat, courier, upstream, mode):
    another_listens = Until(lambda: listeners(courier))
    upstream.will_answer(OPENING, HELLO, another_listens, STOP, USAGE, DONE)

    asked = asyncio.ensure_future(chat(headers=KEY, stream=True))
    await until(lambda: courier.passed_on)
    joined = await chat(headers=KEY, stream=True)

    assert joined.content == (await asked).content
    assert joined.data[-1] == b"[DONE]"
    assert len(upstream.requests) == 1


async def test_where_answers_are_not_kept_a_repeat_is_refused(chat, upstream, settings):
    settings.COURIER_IDEMPOTENCY = "digest"
    await chat(headers=KEY)

    again = await chat(headers=KEY)

    assert (again.status, again.code) == (409, "idempotency_outcome_not_kept")
    assert again.headers["x-should-retry"] == "false"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(("kept", "status"), [("digest", 200), ("memory", 503)])
async def test_what_is_not_kept_takes_no_room(chat, courier, upstream, settings, kept, status):
    settings.COURIER_IDEMPOTENCY, settings.REDIS_URL = kept, ""
    upstream.always(completion() if status == 200 else OVERLOADED, status=status)

    assert (await chat(headers=KEY)).status == status

    await until(lambda: courier.application._front_door.repeats._answers.used == 0)


async def test_what_only_asks_needs_no_key(courier, key):
    headers = {"idempotency-key": "no key, for it has spaces"}

    assert (await courier.request("GET", "/v1/models", key=key, headers=headers)).status == 200


async def test_where_it_is_off_the_header_says_nothing(chat, upstream, settings):
    settings.COURIER_IDEMPOTENCY = "off"
    await chat(headers=KEY)
    await chat(headers=KEY)

    assert len(upstream.requests) == 2


async def test_another_body_with_the_same_key_is_refused(chat, upstream, mode):
    await chat(headers=KEY)

    other = await chat(headers=KEY, temperature=0)

    assert (other.status, other.code) == (422, "idempotency_conflict")
    assert len(upstream.requests) == 1


async def test_another_body_is_refused_while_the_first_is_answered(chat, upstream, mode):
    is_refused = Gate()
    upstream.will_answer(completion(), after=is_refused)
    asked = asyncio.ensure_future(chat(headers=KEY))
    await until(lambda: upstream.requests)

    other = await chat(headers=KEY, temperature=0)
    is_refused.open()

    assert other.code == "idempotency_conflict"
    assert (await asked).status == 200


async def test_the_refusal_is_in_the_format_of_the_client(courier, key, upstream):
    body = {"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    await courier.post("/v1/messages", body, key=key, headers=KEY)

    other = await courier.post("/v1/messages", body | {"max_tokens": 8}, key=key, headers=KEY)

    assert (other.status, other.json["type"]) == (422, "error")
    assert other.error["type"] == "invalid_request_error"


async def test_keys_of_two_callers_have_nothing_to_do_with_each_other(chat, courier, upstream):
    other = await courier.make(factories.make_key)
    assert isinstance(other, ApiKey)

    await chat(headers=KEY)
    reply = await chat(headers=KEY, key=other)

    assert "x-courier-replayed" not in reply.headers
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_failure_that_cost_nothing_is_not_remembered(chat, upstream, status, mode):
    upstream.always(OVERLOADED, status=status)
    assert (await chat(headers=KEY)).status >= 429

    upstream.always(completion("at last"))
    again = await chat(headers=KEY)

    assert (again.status, "x-courier-replayed" in again.headers) == (200, False)


async def test_a_stream_that_was_charged_and_broke_off_is_the_outcome(
    chat, courier, upstream, keeps_answers
):
    upstream.will_answer(OPENING, HELLO, CUT)
    first = await chat(headers=KEY, stream=True)

    again = await chat(headers=KEY, stream=True)

    assert first.failure["code"] == "stream_interrupted"
    assert again.content == first.content
    assert len(upstream.requests) == await records(courier, 1) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_whoever_lost_the_connection_gets_the_answer_by_asking_again(
    call, chat, courier, upstream, keeps_answers, stream
):
    has_left = Gate()
    upstream.will_answer(*(STREAM if stream else (completion("mine"),)), after=has_left)
    async with call(stream=stream):
        await until(lambda: upstream.requests)
    await until(courier.is_left)
    has_left.open()

    again = await chat(headers=KEY, stream=stream)

    assert again.status == 200
    assert again.headers["x-courier-replayed"] == "true"
    assert upstream.departures == []
    assert len(upstream.requests) == 1
    assert (await courier.last_record()).outcome == "ok"


async def test_whoever_asked_first_may_leave_while_others_listen(
    call, chat, courier, upstream, settings
):
    settings.COURIER_IDEMPOTENCY = "digest"
    has_left = Gate()
    upstream.will_answer(OPENING, HELLO, has_left, STOP, USAGE, DONE)
    async with call(stream=True) as first:
        await first.read_head()
        listening = asyncio.ensure_future(chat(headers=KEY, stream=True))
        await until(lambda: listeners(courier))
    await until(lambda: len(courier.server.server_state.connections) == 1)
    has_left.open()

    assert (await listening).data[-1] == b"[DONE]"
    assert (await courier.last_record()).outcome == "ok"


async def test_when_the_last_listener_has_left_the_upstream_is_left(
    call, courier, upstream, settings
):
    settings.COURIER_IDEMPOTENCY = "digest"
    upstream.will_answer(OPENING, HELLO, Pause(30))
    async with call(stream=True) as first, call(stream=True) as second:
        await first.read_head()
        await second.read_head()

    await until(lambda: upstream.departures)
    assert (await courier.last_record()).outcome == "client_disconnected"


async def test_no_more_go_on_for_nobody_than_allowed(
    call, chat, courier, upstream, keeps_answers, monkeypatch
):
    monkeypatch.setattr(idempotency, "MOST_DETACHED", 0)
    upstream.will_answer(OPENING, HELLO, Pause(30))
    async with call(stream=True) as first:
        await first.read_head()

    await until(lambda: upstream.departures)
    await courier.last_record()
    assert (await chat(headers=KEY, stream=True)).code == "idempotency_outcome_not_kept"


async def test_an_answer_that_is_too_large_is_not_kept(chat, upstream, mode, monkeypatch):
    monkeypatch.setattr(tape, "MOST_OF_ONE", 100)
    first = await chat(headers=KEY)

    again = await chat(headers=KEY)

    assert first.status == 200
    assert again.code == "idempotency_outcome_not_kept"
    assert len(upstream.requests) == 1


async def test_the_oldest_answers_make_room(chat, courier, upstream, monkeypatch, settings):
    settings.COURIER_IDEMPOTENCY, settings.REDIS_URL = "memory", ""
    size = len((await chat()).content) + tape.PER_HEAD + tape.PER_PIECE
    monkeypatch.setattr(tape, "MOST_OF_ALL", 2 * size)

    for number in range(3):
        await chat(headers={"idempotency-key": str(number)})

    assert (await chat(headers={"idempotency-key": "0"})).code == "idempotency_outcome_not_kept"
    assert (await chat(headers={"idempotency-key": "2"})).status == 200
    assert courier.application._front_door.repeats._answers.used <= 2 * size


async def test_keys_are_forgotten_after_a_day(chat, upstream, monkeypatch, keeps_answers):
    monkeypatch.setattr(claims, "KEPT_S", 0.2)
    monkeypatch.setattr(idempotency, "KEPT_S", 0.2)
    await chat(headers=KEY)
    await asyncio.sleep(0.3)

    await chat(headers=KEY)

    assert len(upstream.requests) == 2


@pytest.mark.parametrize("value", ["", "x" * 256, "white space", "umläut", '"half', '"a"b"'])
async def test_a_key_that_cannot_be_one_is_refused(courier, key, chat, upstream, value):
    headers = [("idempotency-key", value.encode())]
    reply = await chat(headers=dict(headers))

    assert (reply.status, reply.code) == (400, "invalid_idempotency_key")
    assert upstream.requests == []


async def test_quotes_around_a_key_are_no_part_of_it(chat, upstream, keeps_answers):
    await chat(headers={"idempotency-key": '"order-4711"'})

    assert (await chat(headers=KEY)).headers["x-courier-replayed"] == "true"


async def test_the_key_is_not_passed_on(chat, upstream):
    await chat(headers=KEY)

    assert "idempotency-key" not in upstream.requests[0].headers


async def test_forms_cannot_be_repeated_and_say_so(courier, key):
    headers = {**KEY, "content-type": "multipart/form-data; boundary=x"}
    reply = await courier.request(
        "POST", "/v1/audio/transcriptions", key=key, headers=headers, content=b"--x--"
    )

    assert (reply.status, reply.code) == (400, "idempotency_not_supported")


async def test_a_client_with_many_keys_keeps_nobody_out(chat, upstream, monkeypatch, settings):
    settings.REDIS_URL = ""
    monkeypatch.setattr(claims, "MOST_CLAIMS", 2)
    for number in range(4):
        await chat(headers={"idempotency-key": f"mass-{number}"})

    assert (await chat(headers=KEY)).status == 200
    assert (await chat(headers=KEY)).headers["x-courier-replayed"] == "true"
    assert len(upstream.requests) == 5


async def test_an_answer_that_takes_the_place_of_another_gives_its_room_back():
    room = tape.Answers()
    for _ in range(3):
        answer = tape.Tape(room)
        send = answer.over(ignore)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": False})
        room.keep("same", answer, now=0.0, seconds=1.0)

    assert room.used == answer.size


async def test_many_small_answers_take_no_more_memory_than_is_counted():
    room = tape.Answers()
    tracemalloc.start()
    for number in range(300):
        answer = tape.Tape(room)
        send = answer.over(ignore)
        headers = [(b"x-name-%d" % each, b"value %d %d" % (each, number)) for each in range(14)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in range(10):
            await send({"type": "http.response.body", "body": b"%d" % piece, "more_body": True})
        room.keep(f"name-{number}", answer, now=0.0, seconds=1.0)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert taken <= room.used


async def test_where_redis_is_away_nothing_is_called(chat, courier, upstream):
    courier.application._front_door.repeats._claims = RedisClaims(
        f"redis://127.0.0.1:{free_port()}/0"
    )

    reply = await chat(headers=KEY)

    assert (reply.status, reply.code) == (503, "idempotency_unavailable")
    assert reply.headers["retry-after"] == "1"
    assert upstream.requests == []


async def test_an_answer_in_redis_is_sealed(chat, courier, keeps_answers, redis_server, settings):
    settings.COURIER_IDEMPOTENCY, settings.REDIS_URL = "shared", redis_server.url(8)
    courier.application._front_door.repeats._claims = RedisClaims(settings.REDIS_URL)
    first = await chat(headers=KEY)
    again = await chat(headers=KEY)

    with redis.Redis.from_url(settings.REDIS_URL) as client:
        (name,) = client.keys("courier:idempotency:*")
        stored = b" ".join([name, *client.hgetall(name).values()])
        assert 0 < client.ttl(name) <= 24 * 60 * 60
        client.flushdb()
    assert again.content == first.content
    assert b"gAAAA" in stored
    assert not any(word in stored for word in (b"Hello", b"order-4711", b"alpha"))
    settings.REDIS_URL = ""


async def test_a_stop_is_told_to_all_who_listen(chat, courier, upstream, quiet_logs):
    upstream.will_answer(OPENING, HELLO, Pause(30))
    streams = [asyncio.ensure_future(chat(headers=KEY, stream=True)) for _ in range(3)]
    await until(lambda: listeners(courier) == 2 and courier.passed_on == 3)
    client, courier.client = courier.client, httpx.AsyncClient()

    await courier.stop()

    for reply in await asyncio.gather(*streams):
        assert reply.failure["code"] == "shutting_down"
    await client.aclose()
    quiet_logs.clear()


async def test_an_answer_that_is_read_on_for_nobody_is_charged_and_never_asked_for_again(
    call, chat, courier, upstream, alpha, settings
):
    settings.COURIER_IDEMPOTENCY = "digest"
    alpha.on_disconnect = "drain"
    await courier.make(alpha.save)
    is_noticed = Gate()
    upstream.will_answer(OPENING, HELLO, is_noticed, STOP, USAGE, DONE)
    async with call(stream=True) as first:
        await first.read_head()
    await until(lambda: pulse.draining)
    is_noticed.open()

    again = await chat(headers=KEY, stream=True)

    assert again.code == "idempotency_outcome_not_kept"
    assert len(upstream.requests) == await records(courier, 1) == 1
