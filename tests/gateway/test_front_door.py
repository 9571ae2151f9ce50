"""What stands between a stranger and the gateway."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from accounts import keys, principals
from gateway import front_door
from registry import snapshot
from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import Pause
from tests.faults.raw import Talk, talk
from tests.gateway.conftest import HELLO, WITHIN_S, in_thread, until
from usage.models import UsageRecord

CHAT = "/v1/chat/completions"
TRANSCRIBE = "/v1/audio/transcriptions"
ENCODINGS = ("gzip", "br", "zstd", "deflate", "x", "GZIP", "identity, gzip", "gzip, identity")
BAD_KEY = {
    "error": {
        "message": "Incorrect API key provided.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
}


SAME_AS_CHAT = ("/v1/%63hat/completions", "/v1%2Fchat/completions", "//v1/chat/completions")
OTHER_PATHS = (
    "/v1/./chat/completions",
    "/v1/x/../chat/completions",
    "/v1//chat/completions",
    "/v1/chat/completions;a=b",
    "/v1/chat;a=b/completions",
    "/v1/chat/completions%00",
    "/v1/chat/completions%20",
    "/v1/chat/completions%0d%0a",
    "/v1/chat/completions%3f",
    "/v1/chat%252fcompletions",
    "/V1/chat/completions",
    "/v1/Chat/Completions",
    "/v1\\chat/completions",
    "/v1/%2e%2e/admin/",
    "/v1/../admin/",
    "///v1/chat/completions",
)


async def raw(courier, *lines, body=b""):
    """Send these lines and bytes, and read what comes back until there is a whole head and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", courier.port)
    writer.write("\r\n".join([*lines, "host: courier.test", "", ""]).encode("latin-1") + body)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WITHIN_S)
    length = next(
        (line.split(b":")[1] for line in head.lower().split(b"\r\n") if b"content-length" in line),
        b"0",
    )
    content = await reader.readexactly(int(length))
    writer.close()
    return int(head.split(b" ")[1]), content


def revoked(team):
    key = factories.make_key(team)
    keys.revoke_key(key)
    return key


def expired(team):
    return factories.make_key(team, expires_at=datetime.now(UTC) - timedelta(seconds=1))


def of_somebody_disabled(team):
    owner = factories.make_user(is_active=False)
    return factories.make_key(team, owner=owner)


async def secrets_of_bad_keys(team):
    makers = (revoked, expired, of_somebody_disabled)
    bad = [(await in_thread(make, team)).secret for make in makers]
    good = (await in_thread(factories.make_key, team)).secret
    return [*bad, good[:-1], good + "x", good.swapcase(), "nonsense", "sk-" + "x" * 4000]


async def test_s10_every_bad_key_is_answered_with_the_same_bytes(chat, courier, team):
    bodies = set()
    for secret in await secrets_of_bad_keys(team):
        reply = await courier.post(CHAT, {}, headers={"authorization": f"Bearer {secret}"})
        assert reply.status == 401
        bodies.add(reply.content)
    bodies.add((await courier.post(CHAT, {})).content)

    assert [json.loads(body) for body in bodies] == [BAD_KEY]


@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/models", "/v1/key", "/v1/x"])
async def test_without_a_key_there_is_nothing_to_see(courier, path):
    reply = await courier.request("GET", path)

    assert (reply.status, reply.json) == (401, BAD_KEY)
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.request_id


@pytest.mark.parametrize(
    "header",
    ["authorization: Bearer {}", "x-api-key: {}", "api-key: {}", "Authorization: bearer {}"],
)
async def test_a_key_may_stand_in_any_of_three_headers(courier, key, header):
    name, _, value = header.format(key.secret).partition(": ")

    reply = await courier.request("GET", "/v1/models", headers={name: value})

    assert reply.status == 200


async def test_a_bad_key_is_refused_before_the_body_is_read(courier):
    status, content = await raw(
        courier, f"POST {CHAT} HTTP/1.1", "authorization: Bearer no", "content-length: 999999999"
    )

    assert (status, json.loads(content)) == (401, BAD_KEY)


async def test_a_revoked_key_opens_nothing_as_soon_as_the_change_is_known(courier, chat, key):
    assert (await chat()).status == 200

    await courier.make(lambda: keys.revoke_key(key))

    assert (await chat()).status == 401


async def test_while_keys_cannot_be_checked_the_answer_is_neither_yes_nor_no(
    courier, key, monkeypatch
):
    def broken(digests):
        raise ConnectionError

    monkeypatch.setattr(principals, "_read", broken)

    reply = await courier.request("GET", "/v1/models", key=key)

    assert (reply.status, reply.code) == (503, "identity_unavailable")
    assert reply.headers["retry-after"] == "1"


async def test_a_body_that_says_it_is_too_large_is_refused_unread(courier, key, settings):
    settings.COURIER_MAX_BODY = 1000

    status, content = await raw(
        courier,
        f"POST {CHAT} HTTP/1.1",
        f"authorization: Bearer {key.secret}",
        "content-length: 1001",
    )

    assert (status, json.loads(content)["error"]["code"]) == (413, "request_too_large")


async def test_a_body_that_grows_too_large_is_refused_while_it_is_read(courier, key, settings):
    settings.COURIER_MAX_BODY = 1000

    status, content = await raw(
        courier,
        f"POST {CHAT} HTTP/1.1",
        f"authorization: Bearer {key.secret}",
        "transfer-encoding: chunked",
        body=b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n",
    )

    assert (status, json.loads(content)["error"]["code"]) == (413, "request_too_large")


async def test_a_body_of_exactly_the_limit_is_read(chat, courier, settings):
    body = {"model": "tiny", "messages": [HELLO]}
    settings.COURIER_MAX_BODY = len(json.dumps(body))

    assert (await chat()).status == 200


async def test_a_body_in_chunks_is_read(courier, tiny, key):
    content = json.dumps({"model": "tiny", "messages": [HELLO]}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (content[:9], content[9:]))

    status, _ = await raw(
        courier,
        f"POST {CHAT} HTTP/1.1",
        f"authorization: Bearer {key.secret}",
        "transfer-encoding: chunked",
        body=chunks + b"0\r\n\r\n",
    )

    assert status == 200


async def test_a_body_that_does_not_arrive_is_not_waited_for(courier, key, monkeypatch):
    monkeypatch.setattr(front_door, "BODY_IDLE_S", 0.05)

    status, content = await raw(
        courier,
        f"POST {CHAT} HTTP/1.1",
        f"authorization: Bearer {key.secret}",
        "content-length: 10",
        body=b"{",
    )

    assert (status, json.loads(content)["error"]["code"]) == (408, "request_timeout")


async def test_s02_a_body_that_drips_is_not_waited_for_either(courier, key, monkeypatch):
    monkeypatch.setattr(front_door, "BODY_TIMEOUT_S", 0.2)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {key.secret}\r\n"

    async with Talk(courier.port) as slow:
        await slow.send(f"{head}content-length: 1000\r\n\r\n".encode())
        for _ in range(20):
            await slow.send(b"x")
            await slow.send(Pause(0.03))
        reply = await slow.read_reply()

    assert (reply.status, reply.code) == (408, "request_timeout")


async def test_a_slow_line_gets_the_time_that_it_takes(courier, key, monkeypatch):
    monkeypatch.setattr(front_door, "BODY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(front_door, "SLOWEST_LINE", 100)
    body = json.dumps({"model": "tiny", "messages": [HELLO], "user": "x" * 900}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {key.secret}\r\n"

    async with Talk(courier.port) as slow:
        await slow.send(f"{head}content-length: {len(body)}\r\n\r\n".encode())
        for start in range(0, len(body), 100):
            await slow.send(body[start : start + 100])
            await slow.send(Pause(0.05))
        reply = await slow.read_reply()

    assert reply.status == 200


async def test_s43_a_compressed_body_is_refused(chat, courier, key):
    form = {"content-type": "Multipart/Form-Data; boundary=x"}
    for encoding in ENCODINGS:
        headers = {"content-encoding": encoding}
        replies = [
            await chat(headers=headers),
            await courier.request("POST", TRANSCRIBE, key=key, headers=headers | form),
        ]

        told = {(encoding, reply.status, reply.code) for reply in replies}
        assert told == {(encoding, 415, "unsupported_media_type")}


async def test_a_body_that_is_not_compressed_may_say_so(chat):
    assert (await chat(headers={"content-encoding": "identity"})).status == 200


async def test_who_leaves_while_sending_its_body_leaves_nothing_behind(courier, tiny, key):
    call = Call(courier, key=key.secret)
    call.request = call.request[:-5]
    async with call:
        await until(lambda: courier.application._front_door.open)

    await until(lambda: not courier.application._front_door.open)
    assert await in_thread(UsageRecord.objects.count) == 0


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/chat/completions/", "/v1/", "/v1/x/../key"])
async def test_an_unknown_url_is_an_error_that_clients_can_read(courier, key, path):
    status, content = await raw(courier, f"GET {path} HTTP/1.1", f"x-api-key: {key.secret}")

    error = json.loads(content)["error"]
    assert (status, error["code"], error["type"]) == (404, "unknown_url", "invalid_request_error")


async def test_s46_paths_that_clients_make_up_are_not_remembered(courier, key):
    for number in range(3):
        await courier.request("GET", f"/v1/models/{number}", key=key)
        await courier.request("GET", f"/v1/unknown/{number}", key=key)
    await courier.request("GET", "/v1/models", key=key)

    remembered = front_door._views

    assert "/v1/models" in remembered
    assert [path for path in remembered if any(map(str.isdigit, path.rpartition("/")[2]))] == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", CHAT, "POST"), ("POST", "/v1/models", "GET")]
)
async def test_a_wrong_method_is_told_the_right_one(courier, key, method, path, allowed):
    reply = await courier.request(method, path, key=key)

    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert reply.headers["allow"] == allowed


async def test_s05_a_path_is_decoded_once_for_the_gate_and_for_what_is_behind_it(
    courier, upstream, key
):
    body = json.dumps({"model": "tiny", "messages": [HELLO]}).encode()
    told = f"x-api-key: {key.secret}", f"content-length: {len(body)}"
    for path in SAME_AS_CHAT:
        without, _ = await raw(courier, f"POST {path} HTTP/1.1")
        status, _ = await raw(courier, f"POST {path} HTTP/1.1", *told, body=body)
        assert (path, without, status) == (path, 401, 200)

    assert len(upstream.requests) == len(SAME_AS_CHAT)


async def test_s05_what_is_not_exactly_a_path_is_none(courier, upstream, settings, key):
    for path in OTHER_PATHS:
        without, _ = await raw(courier, f"POST {path} HTTP/1.1")
        status, _ = await raw(courier, f"POST {path} HTTP/1.1", f"x-api-key: {key.secret}")
        assert (path, without, status) in {(path, 401, 404), (path, 404, 404)}

    assert upstream.requests == []


HOSTS = {
    "gateway.example.com": 401,
    "GATEWAY.example.COM:8000": 401,
    "gateway.example.com.": 401,
    "other.example.com": 400,
    "gateway.example.com.evil.com": 400,
    "evil.com:gateway.example.com": 400,
    "gateway.example.com:80:80": 400,
    "": 400,
    "127.0.0.1": 400,
    "[::1]": 400,
}


async def test_s05_only_names_of_this_server_are_answered_to(courier, settings):
    settings.ALLOWED_HOSTS = ["gateway.example.com"]
    for host, status in HOSTS.items():
        request = f"POST {CHAT} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()

        (reply,) = await talk(courier.port, request, quiet_s=0.02)

        code = "host_not_allowed" if status == 400 else "invalid_api_key"
        assert (host, reply.status, reply.code) == (host, status, code)


async def test_health_is_told_under_any_name(courier, settings):
    settings.ALLOWED_HOSTS = ["gateway.example.com"]

    assert (await courier.request("GET", "/health/live")).status == 200


async def test_every_answer_has_an_id_that_tells_its_time(chat):
    before = datetime.now(UTC) - timedelta(milliseconds=1)

    request_id = (await chat()).request_id

    assert request_id.version == 7
    assert before <= datetime.fromtimestamp((request_id.int >> 80) / 1000, UTC) <= datetime.now(UTC)


async def test_the_clients_own_marks_are_recorded(chat, courier):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"x-request-id": "job-7.a_b", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}

    reply = await chat(headers=headers)

    assert reply.headers["x-request-id"] != "job-7.a_b"
    record = await courier.record(reply.request_id)
    assert (record.client_request_id, record.trace_id) == ("job-7.a_b", trace)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-request-id": "a b", "traceparent": "x"},
        {"x-request-id": "x" * 65, "traceparent": f"00-{'0' * 32}-{'1' * 16}-01"},
        {"x-request-id": "a'; --", "traceparent": f"00-{'A' * 32}-{'1' * 16}-01"},
        {"x-request-id": "", "traceparent": f"00-{'a' * 31}-{'1' * 16}-01"},
    ],
)
async def test_malformed_marks_are_not_recorded(chat, courier, headers):
    reply = await chat(headers=headers)

    record = await courier.record(reply.request_id)
    assert (record.client_request_id, record.trace_id) == ("", "")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"null", b"\xef\xbb\xbf{}", b"{'a': 1}", b"[" * 2000, b"\xff"],
)
async def test_a_body_that_is_no_json_object_is_refused(courier, key, body):
    reply = await courier.request("POST", CHAT, key=key, content=body)

    assert (reply.status, reply.error["type"]) == (400, "invalid_request_error")
    assert reply.error["code"] is None


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"model": "x" * 201}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, "messages.0"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": []}, "stream_options"),
    ],
)
async def test_a_wrong_field_is_named(chat, changes, param):
    reply = await chat(**changes)

    assert (reply.status, reply.error["param"]) == (400, param)
    assert reply.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("name", ["api_base", "api_key", "base_url", "extra_headers", "proxy"])
async def test_no_body_says_where_courier_connects(chat, upstream, name):
    reply = await chat(**{name: "x"})

    assert (reply.status, reply.code, reply.error["param"]) == (400, "unsupported_parameter", name)
    assert upstream.requests == []


async def test_fields_that_courier_does_not_know_reach_the_upstream(chat, upstream):
    await chat(tomorrow={"headers": {"x": 1}}, top_k=5)

    sent = upstream.requests[0].json
    assert (sent["tomorrow"], sent["top_k"]) == ({"headers": {"x": 1}}, 5)


async def test_nothing_of_the_clients_headers_reaches_the_upstream(chat, upstream):
    await chat(headers={"x-evil": "1", "cookie": "a=b", "openai-organization": "org"})

    sent = upstream.requests[0].headers
    assert sent["authorization"] == "Bearer sk-upstream-of-a-test"
    assert not {"x-evil", "cookie", "openai-organization"} & sent.keys()


async def test_nothing_of_the_upstreams_headers_reaches_the_client(chat, upstream):
    upstream.will_answer(
        b'{"choices": []}',
        headers={"set-cookie": "a=b", "x-accel-redirect": "/etc", "server": "x", "x-secret": "y"},
    )

    reply = await chat()

    assert not {"set-cookie", "x-accel-redirect", "server", "x-secret"} & reply.headers.keys()


async def test_a_model_that_does_not_exist_is_told(chat):
    reply = await chat(model="nothing")

    assert (reply.status, reply.code, reply.error["param"]) == (404, "model_not_found", "model")


async def test_s10_a_key_learns_nothing_about_models_that_it_may_not_use(chat, courier, team):
    key = await courier.make(lambda: factories.make_key(team, allowed_models=["other-*"]))

    replies = [await chat(key=key, model=name) for name in ("tiny", "nothing")]

    told = [(reply.status, reply.code, reply.error["param"]) for reply in replies]
    assert told == [(403, "model_not_allowed", "model")] * 2


async def test_a_key_may_be_kept_from_an_endpoint(chat, courier, team):
    key = await courier.make(lambda: factories.make_key(team, allowed_endpoints=["embeddings"]))

    reply = await chat(key=key)

    assert (reply.status, reply.code) == (403, "endpoint_not_allowed")


async def test_before_the_configuration_is_loaded_clients_are_asked_to_wait(chat, monkeypatch):
    monkeypatch.setattr(snapshot, "is_loaded", lambda: False)

    reply = await chat()

    assert (reply.status, reply.code) == (503, "not_ready")
    assert reply.headers["retry-after"] == "1"


async def test_a_bug_is_logged_and_tells_nothing(chat, upstream, monkeypatch, quiet_logs):
    def broken(*_):
        raise RuntimeError("the secret plan")

    monkeypatch.setattr("gateway.routing.plan", broken)

    reply = await chat()

    assert (reply.status, reply.code) == (500, "internal_error")
    assert "secret plan" not in reply.content.decode()
    assert str(reply.request_id) in quiet_logs.pop().getMessage()


async def test_a_bug_is_recorded_too(chat, courier, monkeypatch, quiet_logs):
    monkeypatch.setattr("gateway.routing.plan", None)

    record = await courier.record((await chat()).request_id)

    quiet_logs.clear()
    assert (record.outcome, record.status, record.usage_source) == ("internal_error", 500, "none")


async def test_pages_of_a_configured_origin_may_call(chat, settings):
    settings.COURIER_CORS_ORIGINS = ["https://app.example.com"]

    reply = await chat(headers={"origin": "https://app.example.com"})

    assert reply.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "x-request-id" in reply.headers["access-control-expose-headers"]


async def test_a_stream_may_be_read_by_the_page_that_asked(chat, settings):
    settings.COURIER_CORS_ORIGINS = ["https://app.example.com"]

    reply = await chat(stream=True, headers={"origin": "https://app.example.com"})

    assert reply.headers["access-control-allow-origin"] == "https://app.example.com"


async def test_a_page_is_told_of_a_refusal_too(courier, settings):
    settings.COURIER_CORS_ORIGINS = ["https://app.example.com"]

    reply = await courier.post(CHAT, {}, headers={"origin": "https://app.example.com"})

    assert reply.status == 401
    assert reply.headers["access-control-allow-origin"] == "https://app.example.com"


async def test_browsers_may_ask_before_they_ask(courier, settings):
    settings.COURIER_CORS_ORIGINS = ["https://app.example.com"]
    headers = {"origin": "https://app.example.com", "access-control-request-headers": "x-a"}

    reply = await courier.request("OPTIONS", CHAT, headers=headers)

    assert (reply.status, reply.content) == (204, b"")
    assert reply.headers["access-control-allow-headers"] == "x-a"


async def test_without_configured_origins_no_page_is_told_anything(chat, courier):
    headers = {"origin": "https://app.example.com"}

    asked = await courier.request("OPTIONS", CHAT, headers=headers)
    reply = await chat(headers=headers)

    assert asked.status == 401
    assert not [name for name in reply.headers if name.startswith("access-control")]
