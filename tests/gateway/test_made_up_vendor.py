"""A vendor like OpenAI, with one quirk: one file and one registry line, and no more.

The file is what stands between the lines; the line is what `vendor` registers.
"""

import re
import sys
from types import ModuleType

import pytest

from registry.kinds import PROVIDER_KINDS
from tests import factories
from tests.fakes.upstream import STREAM, completion
from tests.gateway.conftest import HELLO
from tests.gateway.targets import SECRET, make_target
from tests.gateway.validators import anthropic_messages
from tests.sources import CHECKOUT

FILE = '''
"""Acme: OpenAI's format, with a seed that it calls by another name."""

from gateway.dialects.base import Drops, Json
from gateway.providers.openai import OpenAICompatible


def without_penalties(body: Json, drops: Drops) -> None:
    """Acme refuses both."""
    for name in ("presence_penalty", "frequency_penalty"):
        if body.pop(name, None) is not None:
            drops.note(name)


class Acme(OpenAICompatible):
    kind = "acme"
    quirks = (without_penalties,)
'''
LINE = ("Acme", "acme_of_a_test.Acme")


@pytest.fixture
def acme(monkeypatch):
    module = ModuleType("acme_of_a_test")
    exec(FILE, module.__dict__)
    monkeypatch.setitem(sys.modules, "acme_of_a_test", module)
    monkeypatch.setitem(PROVIDER_KINDS, "acme", LINE)


@pytest.fixture
async def served(acme, courier, upstream):
    def make():
        provider = factories.make_provider("acme", kind="acme", base_url=upstream.url)
        factories.make_route(factories.make_model("acme-1"), provider, upstream_model="one")

    await courier.make(make)


async def test_the_quirk_is_kept_and_announced(chat, upstream, served):
    upstream.will_answer(completion("Hi."))

    reply = await chat(model="acme-1", presence_penalty=1, seed=5)

    assert reply.json["choices"][0]["message"]["content"] == "Hi."
    assert reply.headers["x-courier-dropped-params"] == "presence_penalty"
    assert upstream.requests[0].json == {"model": "one", "messages": [HELLO], "seed": 5}


async def test_clients_of_other_formats_are_served(courier, key, upstream, served):
    upstream.will_answer(*STREAM)
    body = {"model": "acme-1", "max_tokens": 50, "messages": [HELLO], "stream": True}

    reply = await courier.post("/v1/messages", body, key=key)

    answer = anthropic_messages.check(reply.content)
    assert (answer.text, answer.finish, answer.complete) == ("Hello there.", "stop", True)


def test_the_file_in_the_documentation_keeps_to_the_contract():
    page = (CHECKOUT / "docs" / "adding-a-provider.md").read_text()
    documented: dict[str, object] = {}
    exec(
        re.search(r"```python\n# gateway/providers/acme.py\n(.*?)```", page, re.DOTALL)[1],
        documented,
    )
    vendor = documented["Acme"]()

    headers = vendor.headers(make_target())

    assert headers["x-acme-key"] == SECRET
    assert headers.keys() == {"content-type", "accept-encoding", "user-agent", "x-acme-key"}
    assert vendor.credentials(make_target(api_key="")) == {}
