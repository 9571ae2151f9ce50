"""What can be read in two ways is not read at all."""

import asyncio
import contextlib
import itertools
import time

import pytest

from courier_site import heads
from tests.courier_site import raw_requests
from tests.courier_site.raw_requests import AMBIGUOUS, CHUNKED, GET, POST, SECOND
from tests.courier_site.servers import serving
from tests.fakes.upstream import Pause
from tests.faults.figures import figure
from tests.faults.raw import talk


@pytest.fixture
def seen():
    """The requests that got as far as the application: path, headers and body."""
    return []


@pytest.fixture
async def port(seen):
    async def application(scope, receive, send):
        body = b""
        with contextlib.suppress(KeyError):
            while True:
                message = await receive()
                body += message["body"]
                if not message["more_body"]:
                    break
            seen.append((scope["path"], dict(scope["headers"]), body))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})

    async with serving(application) as server:
        yield server.port


async def test_s01_what_is_ambiguous_is_answered_once_and_the_connection_closed(port, seen):
    answers = await asyncio.gather(*(talk(port, each, quiet_s=None) for each in AMBIGUOUS.values()))

    told = {
        name: ([reply.status for reply in replies], replies.was_closed)
        for name, replies in zip(AMBIGUOUS, answers, strict=True)
    }
    assert {name: how for name, how in told.items() if how != ([400], True)} == {}
    assert seen == []
    figure("S01", f"{len(AMBIGUOUS)} ambiguous requests: 400 and closed", "all")


CLEAR = [
    GET + b"\r\n",
    b"\r\n" + GET + b"\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    GET + b"x: a\tb\r\n\r\n",
    GET + "x: Å…\r\n\r\n".encode(),
    GET + b"connection: keep-alive, upgrade\r\nupgrade: h2c\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: here\r\n\r\n",
    b"GET / HTTP/1.1\r\nHOST: [::1]:8000\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: \r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: %s:65535\r\n\r\n" % (b"h" * 253),
    POST + b"Content-Length: 5\r\n\r\nabcde",
    POST + b"transfer-encoding: Chunked\r\n\r\n5;x=y\r\nabcde\r\n0\r\n\r\n",
]


async def test_s01_what_is_unusual_but_clear_is_served(port, seen):
    answers = await asyncio.gather(*(talk(port, each, quiet_s=0.05) for each in CLEAR))

    assert [[reply.status for reply in replies] for replies in answers] == [[200]] * len(CLEAR)
    assert len(seen) == len(CLEAR)


async def test_s01_requests_behind_each_other_are_answered_in_their_order(port, seen):
    pieces = GET + b"\r\n" + POST + b"content-length: 1\r\n\r\nx" + SECOND
    replies = await talk(port, pieces, answers=3)

    assert [reply.status for reply in replies] == [200, 200, 200]
    assert [(path, body) for path, _, body in seen] == [("/", b""), ("/", b"x"), ("/second", b"")]


async def test_s01_a_body_is_never_a_second_request(port, seen):
    await talk(port, GET + b"content-length: %d\r\n\r\n" % len(SECOND) + SECOND)

    assert [(path, body) for path, _, body in seen] == [("/", SECOND)]


async def test_s01_nonsense_behind_a_request_does_not_answer_it(port):
    replies = await talk(port, GET + b"\r\nNONSENSE\r\n\r\n", quiet_s=None)

    assert replies.was_closed
    assert [reply.status for reply in replies if reply.status != 200] == []


async def test_s01_fields_behind_a_body_are_not_taken_for_the_heads(port, seen):
    await talk(port, CHUNKED + b"1\r\nx\r\n0\r\nauthorization: Bearer x\r\n\r\n")

    ((_, headers, body),) = seen
    assert body == b"x"
    assert b"authorization" not in headers


@pytest.mark.parametrize("piece", [b"x: y\r\n", b"y"], ids=["many", "one"])
async def test_s02_fields_behind_a_body_have_a_bound_too(port, piece):
    endless = b"x: " + piece * (2 * heads.MAX_HEAD // len(piece))

    replies = await talk(port, CHUNKED + b"1\r\nx\r\n0\r\n", Pause(0.05), endless, quiet_s=None)

    assert replies.was_closed
    assert [reply.status for reply in replies] in ([431], [])


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
async def test_s19_nobody_agrees_to_an_upgrade(port, seen, upgrade):
    asked = GET + b"connection: upgrade\r\nupgrade: " + upgrade
    keyed = asked + b"\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n\r\n"
    replies = await talk(port, keyed + SECOND, quiet_s=None)

    assert [reply.status for reply in replies] == [200]
    assert replies.was_closed
    assert len(seen) == 1


async def test_s04_fields_with_an_underscore_are_dropped(port, seen):
    await talk(port, GET + b"x_forwarded_for: 1.2.3.4\r\nx-kept: 1\r\n\r\n", quiet_s=0.05)

    ((_, headers, _),) = seen
    assert headers == {b"host": b"here", b"x-kept": b"1"}


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_s02_a_head_of_exactly_the_limit_is_served(more):
    url, host = b"/", (b"host", b"here")
    name = b"x"
    value = b"v" * (heads.MAX_HEAD - len(b"".join([url, *host, name])) + more)

    assert heads.refused("1.1", url, [host, (name, value)]) == (
        heads.TOO_LARGE if more > 0 else None
    )


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_s02_exactly_so_many_fields_are_served(port, more):
    fields = b"".join(b"x-%d: 1\r\n" % each for each in range(heads.MAX_HEADERS - 1 + more))

    (reply,) = await talk(port, GET + fields + b"\r\n", quiet_s=0.05)

    assert reply.status == (431 if more > 0 else 200)


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_s02_a_url_of_exactly_the_limit_is_served(port, more):
    url = b"/" + b"u" * (heads.MAX_URL - 1 + more)

    (reply,) = await talk(port, b"GET " + url + b" HTTP/1.1\r\nhost: here\r\n\r\n", quiet_s=0.05)

    assert reply.status == (414 if more > 0 else 200)


def test_s03_the_cost_of_a_head_is_linear_in_its_fields():
    """Four times the fields take about four times as long; a square would be sixteen."""

    def cost(count):
        fields = [(b"host", b"here"), *((b"accept", b"a;q=0.1, b") for _ in range(count))]
        runs = []
        for _ in range(7):
            began = time.perf_counter()
            for _ in range(200):
                heads.refused("1.1", b"/", fields)
            runs.append(time.perf_counter() - began)
        return min(runs)

    ratio = cost(96) / cost(24)

    figure("S03", f"4 × the fields take {ratio:.1f} × as long", "≤ 6 ×")
    assert ratio < 12


def test_the_corpus_repeats_nothing():
    assert not [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(raw_requests.AMBIGUOUS.items(), 2)
        if a == b
    ]
