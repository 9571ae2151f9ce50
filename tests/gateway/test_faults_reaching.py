"""F01 to F05, F15, F18 and F22: upstreams that cannot be reached, or do not speak proper HTTP."""

import asyncio
import contextlib
import logging
import socket
import threading
import time

import pytest

from registry import network
from tests import services
from tests.fakes.upstream import CUT, HELLO, OPENING, RESET, STALL, Pause, completion
from tests.faults.certificates import Authority
from tests.faults.figures import figure
from tests.faults.pairs import survived, told, told_no_secret
from tests.faults.upstream import stream as streamed
from tests.faults.upstream import whole
from tests.gateway.conftest import until

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def url_of(port, scheme="http"):
    return f"{scheme}://127.0.0.1:{port}/v1"


@contextlib.contextmanager
def full_listener():
    """A port that drops what knocks: its queue of connections is full, and nobody takes any."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port


@both
async def test_f01_where_nobody_listens_the_next_route_answers(pair, stream):
    await pair.make(url_of(services.free_port()))
    await pair.ask(stream, model="alone")  # what is made at first is no cost of failing over
    began = time.monotonic()

    reply = await pair.ask(stream)

    figure("F01", f"{(time.monotonic() - began) * 1000:.0f} ms to the end", "≤ 50 ms")
    await survived(pair, reply, "upstream_unreachable")
    assert await pair.spent_in_vain(reply) == 0


async def test_f01_a_client_is_told_that_nobody_listens_and_not_where(pair):
    port = services.free_port()
    await pair.make(url_of(port))

    reply = await pair.ask(model="alone")

    await told(pair, reply, 502, "upstream_unreachable")
    assert str(port).encode() not in reply.content


@both
async def test_f02_a_port_that_drops_everything_costs_the_connect_limit(pair, stream):
    with full_listener() as port:
        await pair.make(url_of(port), connect_timeout_s=0.3, tls_timeout_s=60)
        began = time.monotonic()

        reply = await pair.ask(stream)

        # Without it, all that comes before an answer has a minute more.
        assert 0.3 <= time.monotonic() - began < 15
        await survived(pair, reply, "upstream_timeout")
        assert await pair.spent_in_vain(reply) == 0


async def test_f03_a_name_that_does_not_exist_costs_little(pair, monkeypatch):
    def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(network, "_look_up", unknown)
    await pair.make("http://api.no-such-name.example/v1")

    await survived(pair, await pair.ask(), "upstream_unreachable")
    await told(pair, await pair.ask(model="alone"), 502, "upstream_unreachable")


async def test_f03_a_resolver_that_hangs_holds_up_neither_the_loop_nor_others(pair, monkeypatch):
    monkeypatch.setattr(network, "POOL_GRACE_S", 0.0)
    ended = threading.Event()
    monkeypatch.setattr(network, "_look_up", lambda *_: ended.wait(60) and [])
    await pair.make("http://api.example.com/v1", connect_timeout_s=0.3)
    lags = []

    async def watch():
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            lags.append(time.monotonic() - began)

    watching = asyncio.ensure_future(watch())
    replies = await asyncio.gather(*(pair.ask() for _ in range(20)))
    watching.cancel()
    ended.set()

    assert {reply.status for reply in replies} == {200}
    assert max(lags) < 15
    figure("F03", f"longest stall of the loop {max(lags) * 1000:.0f} ms", "none for a lookup")


async def test_f03_names_that_hang_take_no_thread_that_others_wait_for(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(network, "_look_up", lambda *_: ended.wait(60) and [])
    resolver = network.GuardedResolver()
    names = [f"api-{number}.example.com" for number in range(12)]
    hanging = [asyncio.ensure_future(resolver.resolve(name, 443)) for name in names]
    await asyncio.sleep(0.05)

    await asyncio.wait_for(asyncio.to_thread(time.monotonic), 15)

    ended.set()
    await asyncio.gather(*hanging, return_exceptions=True)


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """An authority that Courier trusts."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    network.trust.cache_clear()
    yield authority
    network.trust.cache_clear()


@pytest.fixture
def security_log():
    """What is told of as a matter of security."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("courier.security")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


async def test_f04_a_certificate_that_is_vouched_for_is_taken(pair, chaos, authority):
    port = chaos.listen_with_tls(*authority.server())
    await pair.make(url_of(port, "https"))

    reply = await pair.ask()

    assert await pair.attempts(reply) == [("sick", "ok")]


def self_signed(tmp_path, authority, chaos):
    (tmp_path / "stranger").mkdir()
    return chaos.listen_with_tls(*Authority(tmp_path / "stranger").server())


def wrong_name(tmp_path, authority, chaos):
    return chaos.listen_with_tls(*authority.server(address="127.0.0.2"))


def expired(tmp_path, authority, chaos):
    return chaos.listen_with_tls(*authority.server(expired=True))


def old_protocol(tmp_path, authority, chaos):
    return chaos.listen_with_tls(*authority.server(), oldest="TLSv1", newest="TLSv1_1")


TLS_FAULTS = [self_signed, wrong_name, expired, old_protocol]


@pytest.mark.parametrize("fault", TLS_FAULTS, ids=lambda fault: fault.__name__)
async def test_f04_what_is_not_safe_is_not_used_and_told_of(
    pair, chaos, authority, tmp_path, security_log, fault
):
    await pair.make(url_of(fault(tmp_path, authority, chaos), "https"))

    await survived(pair, await pair.ask(), "upstream_tls")
    await told(pair, await pair.ask(model="alone"), 502, "upstream_tls")

    assert chaos.requests("sick") == []
    assert "upstream_tls" in security_log[0].getMessage()
    assert "sick" in security_log[0].getMessage()


@contextlib.asynccontextmanager
async def answering_hello_with(answer):
    """A server that reads the beginning of a handshake, answers so, and hangs up."""

    async def serve(reader, writer):
        await reader.read(1024)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["cut", "plain"])
async def test_f04_a_handshake_that_breaks_off_is_a_failure_of_tls(
    pair, authority, security_log, answer
):
    async with answering_hello_with(answer) as port:
        await pair.make(url_of(port, "https"))

        await survived(pair, await pair.ask(), "upstream_tls")
    assert len(security_log) == 1


@both
async def test_f05_silence_costs_the_first_byte_limit_and_may_have_cost_money(pair, chaos, stream):
    await pair.make(first_byte_timeout_s=1.5)
    chaos.always("sick", STALL)

    reply = await pair.ask(stream)

    await survived(pair, reply, "upstream_timeout")
    assert await until(lambda: [each.how for each in chaos.answers("sick")]) == ["left"]
    assert await pair.spent_in_vain(reply) > 0


async def test_f05_a_client_is_told_that_it_took_too_long(pair, chaos):
    await pair.make(first_byte_timeout_s=1.5)
    chaos.always("sick", STALL)

    await told(pair, await pair.ask(model="alone"), 504, "upstream_timeout")


@both
@pytest.mark.parametrize("how", [CUT, RESET], ids=["closed", "reset"])
async def test_f15_a_connection_that_was_closed_while_idle_is_replaced_in_silence(
    pair, chaos, stream, how
):
    await pair.make()
    await pair.ask(stream)
    chaos.once("sick", how)

    reply = await pair.ask(stream)

    assert reply.status == 200
    assert await pair.attempts(reply) == [("sick", "ok")]
    assert len({request.connection for request in chaos.requests("sick")}) == 2


async def test_f15_r22_what_is_sent_again_in_silence_stands_in_the_attempt(pair, chaos):
    await pair.make()
    await pair.ask(model="alone")
    chaos.once("sick", CUT)

    reply = await pair.ask(model="alone")

    assert await pair.calls_on_record(reply) == 2
    assert pair.calls() == ["sick"] * 3


async def test_f15_a_fresh_connection_that_is_closed_is_a_failed_attempt(pair, chaos):
    await pair.make()
    chaos.once("sick", CUT)

    reply = await pair.ask()

    assert (await pair.attempts(reply))[0] == ("sick", "upstream_unreachable")


async def test_f15_only_one_connection_is_replaced(pair, chaos):
    await pair.make()
    await pair.ask(model="alone")
    chaos.once("sick", CUT)
    chaos.once("sick", CUT)

    await told(pair, await pair.ask(model="alone"), 502, "upstream_unreachable")
    assert pair.calls() == ["sick"] * 3


async def test_f15_what_had_begun_to_answer_is_not_asked_again(pair, chaos):
    await pair.make()
    await pair.ask(model="alone")
    chaos.once("sick", b"HTTP/1.1 200 OK\r\ncontent-", CUT)

    reply = await pair.ask(model="alone")

    assert reply.status == 502
    assert pair.calls() == ["sick"] * 2


REDIRECTS = {
    "another host": "http://203.0.113.9/v1/chat/completions",
    "the metadata service": "http://169.254.169.254/latest/meta-data/iam/",
    "itself without TLS": "http://127.0.0.1/v1/chat/completions",
    "a file": "file:///etc/passwd",
}


@pytest.mark.parametrize("where", REDIRECTS)
async def test_f18_a_redirect_is_not_followed(pair, chaos, where):
    await pair.make()
    statuses = [301, 302, 303, 307, 308]
    for status in statuses:
        chaos.once("sick", *whole(b"", status, location=REDIRECTS[where]))

    replies = [await pair.ask(model="alone") for _ in statuses]

    assert {(reply.status, reply.code) for reply in replies} == {(502, "upstream_redirect")}
    assert pair.calls() == ["sick"] * len(statuses)
    for reply in replies:
        assert "location" not in reply.headers
        told_no_secret(reply)


async def test_f18_after_a_redirect_the_next_route_answers(pair, chaos):
    await pair.make()
    chaos.always("sick", *whole(b"", 307, location=REDIRECTS["the metadata service"]))

    await survived(pair, await pair.ask(), "upstream_redirect")


BODY = completion("Poison.")
LENGTH = b"content-length: %d\r\n" % len(BODY)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)

REFUSALS = {"upstream_bad_response", "upstream_unreachable"}
SHAPES = {
    "a length and chunks": HEAD + LENGTH + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS,
    "chunks and a length": HEAD + b"transfer-encoding: chunked\r\n" + LENGTH + b"\r\n" + CHUNKS,
    "two lengths": HEAD + LENGTH + b"content-length: 5\r\n\r\n" + BODY,
    "a length with a sign": HEAD + b"content-length: +%d\r\n\r\n" % len(BODY) + BODY,
    "a negative length": HEAD + b"content-length: -5\r\n\r\n" + BODY,
    "chunked in disguise": HEAD + b"transfer-encoding: xchunked\r\n" + LENGTH + b"\r\n" + CHUNKS,
    "a size with a sign": HEAD + b"transfer-encoding: chunked\r\n\r\n+" + CHUNKS,
    "a size that overflows": HEAD
    + b"transfer-encoding: chunked\r\n\r\n1%x\r\n" % (1 << 64 | len(BODY))
    + BODY,
    "a space before the colon": HEAD + b"content-length : 5\r\n" + LENGTH + b"\r\n" + BODY,
    "a null in a header": HEAD + b"x-a: b\0c\r\n" + LENGTH + b"\r\n" + BODY,
    "no version": b"200 OK\r\n" + LENGTH + b"\r\n" + BODY,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n" + LENGTH + b"\r\n" + BODY,
}


async def test_f22_what_two_readers_could_read_differently_is_followed_by_nothing_more(pair, chaos):
    """It is refused, or read as RFC 9112 has it, and its connection is not used again."""
    await pair.make()
    for shape, answer in SHAPES.items():
        chaos.forget()
        chaos.once("sick", answer)

        reply = await pair.ask(model="alone")
        after = await pair.ask(model="alone")

        connections = {request.connection for request in chaos.requests("sick")}
        assert reply.status == 200 or reply.code in REFUSALS, shape
        assert after.status == 200, shape
        assert "Poison." not in after.content.decode(), shape
        assert len(connections) == 2, shape


POISON = whole(completion("Poison."))[0]


@pytest.mark.parametrize("late_s", [0, 0.15], ids=["at once", "later"])
@both
async def test_f22_an_answer_that_nobody_asked_for_is_nobodys(pair, chaos, late_s, stream):
    """One response more than requests: it must not become the answer to who asks next."""
    await pair.make()
    proper = whole(completion("Proper."))
    chaos.once("sick", *proper, *([Pause(late_s)] if late_s else []), POISON)

    await pair.ask(model="alone")
    await asyncio.sleep(late_s + 0.15)
    after = await pair.ask(stream, model="alone")

    assert after.status == 200
    assert "Poison." not in after.content.decode()


async def test_f22_what_follows_a_stream_is_nobodys(pair, chaos):
    await pair.make()
    frames = (OPENING, HELLO, b"data: [DONE]\n\n")
    chaos.once("sick", *streamed(*frames), POISON)

    await pair.ask(True, model="alone")
    after = await pair.ask(model="alone")

    assert "Poison." not in after.content.decode()
