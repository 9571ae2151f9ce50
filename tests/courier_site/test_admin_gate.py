"""What a stranger may send to the admin."""

import asyncio

import pytest
from asgiref.sync import sync_to_async

from courier_site import admin_gate, patience


class Admin:
    """An application that reads all of a body, and tells what it saw."""

    def __init__(self):
        self.headers = self.body = None

    async def __call__(self, scope, receive, send):
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.headers, self.body = dict(scope["headers"]), body
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        await receive()


async def ask(*pieces, headers=(), peer="203.0.113.7"):
    """The status that the admin's gate answers with, and the admin behind it."""
    admin, sent = Admin(), []
    messages = [
        {"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]}
        for piece in pieces
    ]

    async def receive():
        if messages:
            return messages.pop(0)
        return {"type": "http.disconnect"} if admin.body is not None else await forever()

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "client": (peer, 1), "headers": list(headers)}
    await admin_gate.serve(admin, scope, receive, send)
    return sent[0]["status"], admin


async def forever():
    await asyncio.Event().wait()


@pytest.mark.parametrize(("size", "status"), [(99, 200), (100, 200), (101, 413)])
async def test_s45_a_body_of_exactly_the_limit_is_read(settings, size, status):
    settings.COURIER_MAX_BODY = 100

    assert (await ask(b"x" * 50, b"x" * (size - 50)))[0] == status


async def test_s02_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(admin_gate, "BODY_IDLE_S", 0.02)

    assert (await ask())[0] == 408


CLAIMS = [
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-for", b"198.51.100.1"),
    (b"x-forwarded-host", b"evil.example"),
    (b"forwarded", b"proto=https"),
    (b"x-real-ip", b"198.51.100.1"),
]


async def test_s04_what_only_proxies_say_is_not_taken_from_a_stranger(settings):
    settings.COURIER_TRUSTED_PROXIES = ["10.0.0.0/8"]

    _, admin = await ask(b"", headers=[*CLAIMS, (b"cookie", b"a=b")])

    assert admin.headers == {b"cookie": b"a=b"}


async def test_a_stranger_who_claims_to_be_a_proxy_fills_no_log(settings, monkeypatch, caplog):
    settings.COURIER_TRUSTED_PROXIES = ["10.0.0.0/8"]
    monkeypatch.setattr(admin_gate, "claims", admin_gate.Claims())

    with caplog.at_level("INFO"):
        for _ in range(5):
            await ask(b"", headers=CLAIMS)

    assert [record.name for record in caplog.records] == ["courier_site.admin_gate"]


def test_a_page_that_is_not_there_is_no_line_in_the_log(client, db, caplog):
    assert client.get("/nothing-of-ours").status_code == 404
    assert caplog.records == []


async def test_s04_a_trusted_proxy_may_say_it(settings):
    settings.COURIER_TRUSTED_PROXIES = ["10.0.0.0/8"]

    _, admin = await ask(b"", headers=CLAIMS, peer="10.1.2.3")

    assert admin.headers == dict(CLAIMS)


async def test_s44_statements_of_a_page_are_bounded_in_whichever_thread(settings):
    settings.COURIER_PAGE_TIMEOUT_S, seen = 2.5, []

    async def page(scope, receive, send):
        seen.append(await sync_to_async(patience.most_ms)())

    await admin_gate.serve(page, {"headers": [], "client": None}, None, None)

    assert (seen, patience.most_ms()) == ([2_500], 0)
