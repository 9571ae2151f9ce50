"""The only connections out: where they go, and what their failures are called."""

import socket

import pytest

from gateway import errors
from gateway import upstream as connections
from gateway.providers.base import UpstreamRequest
from registry import network, outbound
from tests import services
from tests.fakes.upstream import CUT, RESET
from tests.gateway.servers import self_signed_server
from tests.gateway.targets import SECRET, make_target

TARGET = make_target()


@pytest.fixture(autouse=True)
async def _close_connections():
    yield
    await connections.close()


def request_to(url):
    return UpstreamRequest(url + "/chat/completions", {"authorization": SECRET}, b"{}")


async def send(url, target=TARGET):
    return await connections.send(request_to(url), target)


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest", "http://10.0.0.7", "http://[::1]:9", "http://[fd00::1]"],
)
async def test_private_addresses_are_not_called_unless_allowed(settings, url):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = []

    with pytest.raises(errors.UpstreamUnreachable) as raised:
        await send(url)
    assert "not allowed" in raised.value.message


@pytest.mark.parametrize(
    "url", ["http://2130706433", "http://0x7f.1", "ftp://example.com", "http://"]
)
async def test_odd_addresses_are_not_called(url):
    with pytest.raises(errors.UpstreamUnreachable):
        await send(url)


async def test_a_change_of_what_is_allowed_is_heeded_at_once(settings, upstream):
    upstream.will_answer(b"{}")
    await (await send(upstream.url)).finish()
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = []

    with pytest.raises(errors.UpstreamUnreachable):
        await send(upstream.url)


def resolving_to(monkeypatch, *addresses):
    found = [(socket.AF_INET, each) for each in addresses]
    monkeypatch.setattr(network, "_look_up", lambda *_: found)


async def test_a_name_is_called_only_at_addresses_that_are_allowed(monkeypatch, settings):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = []
    resolving_to(monkeypatch, "10.0.0.7", "203.0.114.5", "127.0.0.1")

    network._line.set(network.Line())
    found = await network.GuardedResolver().resolve("api.example.com", 443)

    assert [each["host"] for each in found] == ["203.0.114.5"]


async def test_a_name_with_forbidden_addresses_only_is_not_called(monkeypatch, settings):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = []
    resolving_to(monkeypatch, "10.0.0.7", "169.254.169.254")

    with pytest.raises(errors.UpstreamUnreachable) as raised:
        await send("http://api.example.com")
    assert "10.0.0.7" not in raised.value.message


async def test_a_port_where_nobody_listens_is_unreachable():
    with pytest.raises(errors.UpstreamUnreachable):
        await send(f"http://127.0.0.1:{services.free_port()}")


@pytest.mark.parametrize("how", [CUT, RESET])
async def test_a_connection_that_ends_before_an_answer_is_unreachable(upstream, how):
    upstream.will_not_answer(how)

    with pytest.raises(errors.UpstreamUnreachable):
        await send(upstream.url)


@pytest.mark.parametrize("how", [CUT, RESET])
async def test_a_connection_that_ends_in_an_answer_is_unavailable(upstream, how):
    upstream.will_answer(b"{", how)
    answer = await send(upstream.url)

    with pytest.raises((errors.UpstreamUnavailable, errors.UpstreamUnreachable)):
        await answer.read(1000)
    await answer.close()


async def test_what_is_not_http_is_a_bad_response(upstream):
    upstream.will_send_raw(b"220 mail.example ESMTP\r\n", CUT)

    with pytest.raises(errors.UpstreamBadResponse):
        await send(upstream.url)


async def test_a_certificate_that_nobody_vouched_for_is_refused():
    with self_signed_server() as url, pytest.raises(errors.UpstreamTlsFailed):
        await send(url)


async def test_a_redirect_is_not_followed(upstream):
    upstream.will_answer(b"", status=307, headers={"location": f"{upstream.url}/elsewhere"})

    answer = await send(upstream.url)

    await answer.finish()
    assert (answer.status, len(upstream.requests)) == (307, 1)


async def test_cookies_are_not_kept(upstream):
    for _ in range(2):
        upstream.will_answer(b"{}", headers={"set-cookie": "a=b; path=/"})
        await (await send(upstream.url)).finish()

    assert "cookie" not in upstream.requests[1].headers


async def test_an_answer_larger_than_allowed_is_refused(upstream):
    upstream.will_answer(b"x" * 600, b"x" * 600)
    answer = await send(upstream.url)

    with pytest.raises(errors.UpstreamBadResponse):
        await answer.read(1000)
    await answer.close()


async def test_an_answer_in_pieces_is_joined(upstream):
    upstream.will_answer(b"one ", b"two ", b"three")
    answer = await send(upstream.url)

    assert await answer.read(1000) == b"one two three"
    await answer.close()


async def test_the_rest_of_an_answer_is_read_so_that_its_connection_is_used_again(upstream):
    for _ in range(3):
        upstream.will_answer(b"one", b"two")
        await (await send(upstream.url)).finish()

    assert list(upstream.served.values()) == [3]


async def test_messages_tell_no_address_and_no_secret():
    port = services.free_port()

    with pytest.raises(errors.UpstreamUnreachable) as raised:
        await send(f"http://127.0.0.1:{port}")
    assert str(port) not in raised.value.message
    assert SECRET not in f"{raised.value!r}"


async def test_a_bug_is_not_mistaken_for_a_network_that_fails():
    bug = ZeroDivisionError()

    assert connections._mapped(bug, TARGET) is bug


def test_the_guard_knows_what_is_private(settings):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = ["10.0.0.0/8"]

    assert network._is_allowed("10.1.2.3")
    assert not network._is_allowed("192.168.0.1")
    with pytest.raises(outbound.ForbiddenUpstream):
        outbound.check_address("192.168.0.1")
