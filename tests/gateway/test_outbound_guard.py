"""S-15 and S-16: whatever the configuration says by now, no forbidden address is called."""

import socket

import pytest

from gateway import upstream as connections
from gateway.breaker import breakers
from registry.models import Provider
from tests import factories, network
from tests.fakes.canary import Canary
from tests.faults.figures import figure
from tests.registry.hostile_urls import hostile_urls, names_of_this_machine
from tests.soak import trials

HELLO = [{"role": "user", "content": "Say hello."}]
PUBLIC = "93.184.215.14"
NAME = "rebinding.example.com"


@pytest.fixture
def canary():
    with Canary() as listener:
        yield listener


@pytest.fixture
def nothing_private(settings):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = []


def to_each(urls):
    """A model for each URL, as if its provider had got past every form."""
    models = {}
    for number, url in enumerate(urls):
        provider = factories.make_provider(f"hostile-{number}")
        factories.make_upstream_key(provider)
        models[factories.make_model(f"model-{number}", provider).name] = url
        Provider.objects.filter(pk=provider.pk).update(base_url=url)
    return models


async def test_s15_no_forbidden_address_is_called_when_a_request_comes(
    courier, key, canary, nothing_private
):
    urls = [url for url in hostile_urls(canary.port) if url.strip()]
    urls = urls[:: trials(6, 1)] + names_of_this_machine(canary.port)
    models = await courier.make(lambda: to_each(urls))

    statuses = {}
    for model, url in models.items():
        body = {"model": model, "messages": HELLO}
        statuses[url] = (await courier.post("/v1/chat/completions", body, key=key)).status

    figure("S-15", f"{len(urls)} URLs called at run time: {len(canary.heard)} connections", "0")
    assert {url for url, status in statuses.items() if status != 502} == set()
    assert canary.heard == []


class Resolver:
    """Gives its answers one after the other, the last again and again."""

    def __init__(self, monkeypatch, *answers):
        self.answers = list(answers)
        self._system = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host, port=None, *how, **options):
        if host != NAME:
            return self._system(host, port, *how, **options)
        addresses = self.answers[0]
        if len(self.answers) > 1:
            self.answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]


@pytest.fixture
async def rebound(courier, canary):
    """A model at a name that the test's resolver knows."""
    url = f"http://{NAME}:{canary.port}/v1"
    models = await courier.make(lambda: to_each([url]))
    return next(iter(models))


async def ask(courier, key, model):
    body = {"model": model, "messages": HELLO}
    return await courier.post("/v1/chat/completions", body, key=key)


async def test_s15_a_connection_goes_to_the_address_that_was_checked(
    courier, key, canary, rebound, nothing_private, monkeypatch
):
    """Good when it is checked, and this machine's own whenever it is asked again."""
    Resolver(monkeypatch, [PUBLIC], ["127.0.0.1"])

    reply = await ask(courier, key, rebound)
    # The guard of the tests has refused the one that was meant.
    tried, network.attempts[:] = set(network.attempts), []

    assert (reply.status, tried, canary.heard) == (502, {PUBLIC}, [])


async def test_s15_a_name_that_turns_private_later_is_not_called(
    courier, key, canary, rebound, nothing_private, monkeypatch
):
    Resolver(monkeypatch, [PUBLIC], ["127.0.0.1"])
    await ask(courier, key, rebound)
    network.attempts.clear()
    monkeypatch.setattr(breakers, "_states", {})
    # Forgets what names meant, as happens by itself after ten seconds.
    await connections.close()

    reply = await ask(courier, key, rebound)
    tried, network.attempts[:] = set(network.attempts), []

    assert (reply.code, tried, canary.heard) == ("upstream_unreachable", set(), [])


async def test_s15_of_many_addresses_only_the_public_are_called(
    courier, key, canary, rebound, nothing_private, monkeypatch
):
    Resolver(monkeypatch, ["127.0.0.1", PUBLIC, "10.0.0.1", "169.254.169.254"])

    await ask(courier, key, rebound)
    tried, network.attempts[:] = set(network.attempts), []

    assert (tried, canary.heard) == ({PUBLIC}, [])


async def test_s16_a_proxy_of_the_environment_is_not_asked(chat, canary, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)

    reply = await chat()

    assert (reply.status, canary.heard) == (200, [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("stream", [False, True])
async def test_s16_no_redirect_is_followed(chat, upstream, canary, status, stream):
    upstream.will_answer(b"", status=status, headers={"Location": f"{canary.url}/chat"})

    reply = await chat(stream=stream)

    assert (reply.status, canary.heard) == (502, [])
    assert len(upstream.requests) == 1
    assert str(canary.port) not in reply.content.decode()
