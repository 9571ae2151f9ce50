"""F07 to F10: what an upstream refuses, who hears of it, and who is asked instead."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from gateway.providers.base import LONGEST_RETRY_AFTER
from tests.fakes.upstream import error_body
from tests.faults.pairs import SICK_KEY, survived, told, told_no_secret
from tests.faults.upstream import whole

WORDS = error_body("SECRET-OF-THE-UPSTREAM: " + SICK_KEY)


def in_seconds(seconds):
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


#: What the provider says, and for how many seconds it is then left alone.
PAUSES = {
    "seconds": (lambda: {"retry_after": "30"}, 30),
    "a fraction": (lambda: {"retry_after": "29.5"}, 30),
    "milliseconds": (lambda: {"retry_after_ms": "30000", "retry_after": "60"}, 30),
    "a date": (lambda: {"retry_after": in_seconds(30)}, 30),
    "absurd": (lambda: {"retry_after": "99999999999999999999"}, LONGEST_RETRY_AFTER),
    "infinite": (lambda: {"retry_after": "inf"}, LONGEST_RETRY_AFTER),
    "a date in a century": (
        lambda: {"retry_after": in_seconds(86400 * 36500)},
        LONGEST_RETRY_AFTER,
    ),
}


@pytest.mark.parametrize("said", PAUSES)
async def test_f07_a_rate_limited_upstream_is_left_alone_for_as_long_as_it_said(pair, chaos, said):
    headers, seconds = PAUSES[said]
    await pair.make()
    chaos.always("sick", *whole(WORDS, 429, **headers()))

    first = await pair.ask()
    second = await pair.ask()
    await pair.ask(model="alone")
    alone = await pair.ask(model="alone")

    await survived(pair, first, "upstream_rate_limited")
    assert await pair.attempts(second) == [("well", "ok")]
    assert (alone.status, alone.code) == (429, "upstream_rate_limited")
    assert seconds - 3 <= int(alone.headers["retry-after"]) <= seconds
    assert pair.calls() in (["sick", "well", "well"], ["sick", "well", "well", "sick"])
    told_no_secret(alone)


@pytest.mark.parametrize("headers", [{}, {"retry_after": "soon; <script>"}], ids=["none", "junk"])
async def test_f07_one_that_does_not_say_how_long_is_left_alone_for_a_while(pair, chaos, headers):
    await pair.make()
    chaos.always("sick", *whole(WORDS, 429, **headers))

    await survived(pair, await pair.ask(), "upstream_rate_limited")
    assert await pair.attempts(await pair.ask()) == [("well", "ok")]


async def test_f07_it_is_asked_again_when_the_pause_is_over(pair, chaos):
    await pair.make()
    chaos.once("sick", *whole(WORDS, 429, retry_after="1"))
    await survived(pair, await pair.ask(), "upstream_rate_limited")
    await asyncio.sleep(1.1)

    assert await pair.attempts(await pair.ask()) == [("sick", "ok")]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_f08_where_an_upstream_fails_the_next_route_answers(pair, chaos, stream):
    await pair.make()
    for status in (500, 502, 504, 529):
        chaos.once("sick", *whole(WORDS, status))

        await survived(pair, await pair.ask(stream), "upstream_unavailable")


async def test_f08_a_client_is_told_in_courier_s_own_words(pair, chaos):
    await pair.make()
    chaos.always("sick", *whole(WORDS, 503))

    await told(pair, await pair.ask(model="alone"), 503, "upstream_unavailable")


async def test_f08_an_upstream_that_asks_for_a_pause_is_left_alone(pair, chaos):
    await pair.make()
    chaos.once("sick", *whole(WORDS, 503, retry_after="30"))

    await survived(pair, await pair.ask(), "upstream_unavailable")
    assert await pair.attempts(await pair.ask()) == [("well", "ok")]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_f09_what_the_client_did_wrong_is_told_and_tried_nowhere_else(pair, chaos, stream):
    await pair.make()
    body = error_body("temperature is too high", type="invalid_request_error", code="bad_value")
    for status in (400, 409, 413, 415, 422):
        chaos.once("sick", *whole(body, status))

        reply = await pair.ask(stream)

        assert (reply.status, reply.code) == (status, "bad_value")
        assert reply.error["message"].startswith("temperature is too high")
    assert pair.calls() == ["sick"] * 5


async def test_f09_words_that_hold_a_key_or_are_no_words_are_not_passed_on(pair, chaos):
    await pair.make()
    bodies = [
        WORDS,
        error_body("x" * 100_000),
        b"<html><script>alert(1)</script></html>",
        b'{"error": {"message": {"a": 1}, "code": ["b"]}}',
        b'{"error": 5}',
        b"\xff\xfe",
        b"",
    ]
    for body in bodies:
        chaos.once("sick", *whole(body, 400))

        reply = await pair.ask()

        assert (reply.status, reply.headers["content-type"]) == (400, "application/json")
        assert len(reply.content) < 3000
        assert b"<script>" not in reply.content
        told_no_secret(reply)


async def test_f09_a_refusal_without_a_code_has_one_on_record(pair, chaos):
    await pair.make()
    chaos.once("sick", *whole(error_body("Too hot."), 400))

    reply = await pair.ask()

    assert reply.code is None
    assert (await pair.courier.record(reply.request_id)).outcome == "upstream_rejected"
    assert await pair.attempts(reply) == [("sick", "upstream_rejected")]


async def test_f09_a_model_that_the_upstream_does_not_have_is_asked_for_elsewhere(pair, chaos):
    """The one refusal that is the route's fault: its model's name is the administrator's."""
    await pair.make()
    chaos.always("sick", *whole(WORDS, 404))

    await survived(pair, await pair.ask(), "upstream_model_missing")
    await told(pair, await pair.ask(model="alone"), 502, "upstream_model_missing")


@pytest.fixture
def security_log(caplog):
    caplog.set_level(logging.WARNING, "courier.security")
    return lambda: [each.getMessage() for each in caplog.records if "courier" in each.name]


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_f10_a_refused_key_of_courier_s_is_never_the_client_s_problem(
    pair, chaos, security_log, status
):
    await pair.make()
    chaos.always("sick", *whole(WORDS, status))

    reply = await pair.ask(model="alone")

    await told(pair, reply, 502, "upstream_auth_failed")
    assert "www-authenticate" not in reply.headers
    (line,) = security_log()
    assert line.startswith("upstream_auth_failed at provider 'sick'")
    assert SICK_KEY not in line


async def test_f10_another_route_answers_where_a_key_is_refused(pair, chaos):
    await pair.make()
    chaos.always("sick", *whole(WORDS, 401))

    await survived(pair, await pair.ask(), "upstream_auth_failed")
