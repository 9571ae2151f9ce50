import asyncio
import json
from uuid import UUID

import pytest

from accounts.errors import InvalidApiKey, RateLimited
from gateway import errors
from gateway.dialects.openai_chat import openai_chat
from gateway.question import Caller
from gateway.refusal import refusal
from gateway.reply import Reply
from lib.errors import CourierError

ID = UUID("01890000-0000-7000-8000-000000000000")
PATH = "/v1/chat/completions"


@pytest.fixture
async def caller():
    return Caller(ID, asyncio.get_running_loop().time(), Reply(None, []))


def classes(base=CourierError):
    for each in base.__subclasses__():
        if each.__module__.partition(".")[0] in {"gateway", "accounts", "usage", "registry", "lib"}:
            yield each
            yield from classes(each)


async def test_an_error_is_written_as_openais_clients_know_it(caller):
    response = refusal(errors.ModelNotFound("No such model.", param="model"), PATH, caller)

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.content) == {
        "error": {
            "message": f"No such model. (request id: {ID})",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }


async def test_a_bad_key_is_answered_with_the_same_bytes_every_time(caller):
    assert str(ID) not in refusal(InvalidApiKey(), PATH, caller).content.decode()


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.2, "1"), (1, "1"), (1.2, "2"), (59.99, "60"), (0, "1")]
)
async def test_a_wait_is_told_in_whole_seconds_rounded_up(caller, seconds, header):
    response = refusal(RateLimited("Slow down.", retry_after=seconds), PATH, caller)

    assert response.headers["retry-after"] == header


async def test_no_wait_is_told_where_there_is_none(caller):
    assert "retry-after" not in refusal(errors.BadRequest("No."), PATH, caller).headers


async def test_clients_are_told_whether_to_retry(caller):
    class NeverAgain(CourierError):
        should_retry = False

    assert refusal(NeverAgain("No."), PATH, caller).headers["x-should-retry"] == "false"
    assert "x-should-retry" not in refusal(errors.BadRequest("No."), PATH, caller).headers


async def test_headers_of_the_error_are_sent(caller):
    error = errors.BadRequest("No.")
    error.headers["x-ratelimit-limit-requests"] = "5"

    assert refusal(error, PATH, caller).headers["x-ratelimit-limit-requests"] == "5"


def test_an_error_inside_a_stream_is_one_frame_and_no_end_marker():
    frame = openai_chat.error_frame(errors.StreamInterrupted("Cut."), str(ID))

    assert frame.startswith(b'data: {"error":{"message":"Cut.')
    assert frame.endswith(b"}}\n\n")
    assert b"[DONE]" not in frame


@pytest.mark.parametrize("error", sorted(set(classes()), key=lambda each: each.__qualname__))
def test_every_error_has_a_status_a_type_and_a_code(error):
    assert 400 <= error.status < 600
    assert error.type
    assert error.code is None or error.code.replace("_", "").isalnum()
    if error.status == 401:
        assert not error.tells_request_id
