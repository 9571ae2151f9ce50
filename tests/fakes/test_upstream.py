import socket

import httpx
import pytest

from tests.fakes.upstream import (
    CUT,
    DONE,
    HEARD,
    HELLO,
    RESET,
    STALL,
    Gate,
    Pause,
    ScriptedUpstream,
)
from tests.services import wait_for

ASK = {"model": "tiny", "messages": []}


@pytest.fixture
def client(upstream):
    with httpx.Client(base_url=upstream.url, trust_env=False, timeout=60) as client:
        yield client


def test_it_answers_like_a_model_if_nothing_else_is_said(client):
    answer = client.post("/chat/completions", json=ASK).json()

    assert answer["choices"][0]["message"]["content"] == "Hello there."


def test_it_streams_if_asked_to(client):
    answer = client.post("/chat/completions", json={**ASK, "stream": True})

    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.content.endswith(DONE)


def test_it_plays_its_script_in_order(upstream, client):
    upstream.will_answer(b"{}", status=429, headers={"Retry-After": "3"})
    upstream.will_answer(HELLO, Pause(0.01), DONE)

    refused = client.post("/chat/completions", json=ASK)
    streamed = client.post("/chat/completions", json=ASK)

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
    assert streamed.content == HELLO + DONE


def test_it_waits_at_a_gate_until_that_is_opened_and_then_at_it_no_more(upstream, client):
    gate = Gate()
    upstream.always(HELLO, gate, DONE)

    with client.stream("POST", "/chat/completions", json=ASK) as answer:
        pieces = answer.iter_raw()
        first, waits = next(pieces), upstream.busy_connections
        gate.open()
        rest = b"".join(pieces)
    again = client.post("/chat/completions", json=ASK)

    assert (first, waits, rest) == (HELLO, 1, DONE)
    assert again.content == HELLO + DONE


def test_it_waits_until_its_last_piece_was_passed_on(upstream, client):
    passed_on = 0
    upstream.passed_on = lambda: passed_on
    upstream.will_answer(HELLO, HEARD, HELLO, HEARD, DONE)

    with client.stream("POST", "/chat/completions", json=ASK) as answer:
        pieces = []
        for piece in answer.iter_raw():
            pieces.append(piece)
            passed_on += 1

    assert pieces == [HELLO, HELLO, DONE]


def test_it_keeps_what_it_was_sent(upstream, client):
    client.post("/chat/completions", json=ASK, headers={"X-Trace": "1"})

    [request] = upstream.requests
    assert (request.path, request["model"]) == ("/v1/chat/completions", "tiny")
    assert request.headers["x-trace"] == "1"


@pytest.mark.parametrize("ending", [CUT, RESET])
def test_it_breaks_off_in_mid_stream(upstream, client, ending):
    upstream.will_answer(HELLO, Pause(0.01), ending)

    with client.stream("POST", "/chat/completions", json=ASK) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.TransportError):
            answer.read()


@pytest.mark.parametrize("ending", [CUT, RESET])
def test_it_hangs_up_before_the_headers(upstream, client, ending):
    upstream.will_not_answer(ending)

    with pytest.raises(httpx.TransportError):
        client.post("/chat/completions", json=ASK)


def test_it_sees_a_peer_that_leaves_before_the_answer_is_complete(upstream, client):
    upstream.will_answer(HELLO, STALL)

    with client.stream("POST", "/chat/completions", json=ASK) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        assert upstream.busy_connections == 1

    wait_for(lambda: upstream.departures, "the departure", within_s=5)
    assert upstream.open_connections == 0


def test_a_connection_kept_open_is_not_busy(upstream, client):
    client.post("/chat/completions", json=ASK)

    wait_for(lambda: not upstream.busy_connections, "the answer's end", within_s=5)
    assert upstream.open_connections == 1


def test_it_sends_any_bytes_at_all():
    with ScriptedUpstream() as upstream:
        upstream.will_send_raw(b"HTTP/9.9 nonsense\r\n", CUT)

        with socket.create_connection(("127.0.0.1", upstream.port)) as connection:
            connection.sendall(b"POST /v1/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n")

            assert connection.recv(100) == b"HTTP/9.9 nonsense\r\n"
