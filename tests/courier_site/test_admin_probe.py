"""The button that sends a test request."""

import json

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission
from django.db import connections
from django.test import AsyncClient, Client
from django.urls import reverse

from gateway import failover, upstream
from tests.factories import (
    make_admin,
    make_model,
    make_provider,
    make_route,
    make_upstream_key,
    make_user,
)
from tests.fakes.upstream import completion, error_body, usage_of
from usage.models import UsageRecord

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "sk-upstream-of-the-probe"
ANTHROPIC = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "tiny",
        "content": [{"type": "text", "text": "Good day."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 9, "output_tokens": 3},
    }
).encode()


def test_url(row):
    kind = "provider" if row._meta.model_name == "provider" else "model"
    return reverse(f"gateway-probe-{kind}", args=(row.pk,))


test_url.__test__ = False


@pytest.fixture
def browser():
    client = AsyncClient()
    client.force_login(make_admin())
    return client


@pytest.fixture(autouse=True)
async def _no_connection_is_left():
    yield
    await upstream.close()
    await sync_to_async(connections.close_all)()


@pytest.fixture(autouse=True)
def _retries_do_not_wait(monkeypatch):
    monkeypatch.setattr(failover, "FIRST_BACKOFF_S", 0)


@pytest.fixture
def provider(upstream):
    provider = make_provider("local", base_url=upstream.url)
    make_upstream_key(provider, SECRET)
    return provider


@pytest.fixture
def routed(provider):
    """A provider that a route leads to."""
    make_route(make_model("m"), provider, upstream_model="tiny-1")
    return provider


async def test_an_answer_is_shown_with_its_tokens_and_its_time(browser, routed, upstream):
    upstream.will_answer(completion(usage=usage_of(11, 3)))

    shown = (await browser.post(test_url(routed))).text

    assert "Hello there." in shown
    assert "11 input and 3 output tokens" in shown
    assert " ms" in shown


async def test_the_question_is_tiny_and_goes_to_a_route_s_model(browser, routed, upstream):
    upstream.will_answer(completion(usage=usage_of(11, 3)))

    await browser.post(test_url(routed))

    (asked,) = upstream.requests
    assert asked["model"] == "tiny-1"
    assert asked["max_tokens"] == 16
    assert asked["messages"] == [{"role": "user", "content": "Say hello."}]
    assert "stream" not in asked.json
    assert asked.headers["authorization"] == f"Bearer {SECRET}"


async def test_a_provider_without_a_route_asks_which_model_to_test(browser, provider, upstream):
    answer = await browser.post(test_url(provider))

    assert "own name for a model" in answer.text
    assert upstream.requests == []


async def test_a_model_that_was_entered_is_asked(browser, provider, upstream):
    upstream.will_answer(completion(usage=usage_of(11, 3)))

    await browser.post(test_url(provider), {"upstream_model": "by-hand"})

    assert [asked["model"] for asked in upstream.requests] == ["by-hand"]


@pytest.mark.parametrize("name", ["", "a" * 201, "nul\x00"])
async def test_a_name_that_is_none_is_complained_of(browser, provider, upstream, name):
    answer = await browser.post(test_url(provider), {"upstream_model": name})

    assert answer.context["form"].errors["upstream_model"]
    assert upstream.requests == []


async def test_a_model_for_embeddings_is_asked_for_a_vector(browser, provider, upstream):
    shown = (await browser.post(test_url(provider), {"upstream_model": "text-embed-3"})).text

    assert "A vector of 3 numbers." in shown
    assert upstream.requests[0].path.endswith("/embeddings")


async def test_a_provider_of_another_format_is_asked_in_it(browser, upstream):
    provider = await sync_to_async(make_provider)(
        "claude", kind="anthropic", base_url=upstream.url.removesuffix("/v1")
    )
    upstream.will_answer(ANTHROPIC)

    shown = (await browser.post(test_url(provider), {"upstream_model": "tiny"})).text

    assert "Good day." in shown
    assert upstream.requests[0].path.endswith("/messages")


async def test_an_error_is_shown_with_its_code_and_without_the_upstream_s_words(
    browser, routed, upstream
):
    refusal = error_body(f"Incorrect API key provided: {SECRET}")
    upstream.will_answer(refusal, status=401)

    shown = (await browser.post(test_url(routed))).text

    assert "upstream_auth_failed" in shown
    assert SECRET not in shown
    assert "Incorrect API key" not in shown


async def test_a_page_of_a_proxy_is_not_shown(browser, routed, upstream):
    upstream.will_answer(b"<html>internal-host-7 is down</html>")

    shown = (await browser.post(test_url(routed))).text

    assert "upstream_bad_response" in shown
    assert "internal-host-7" not in shown


async def test_a_long_answer_is_cut(browser, routed, upstream):
    upstream.will_answer(completion("a" * 199 + "bcd"))

    shown = (await browser.post(test_url(routed))).text

    assert "a" * 199 + "b<" in shown


async def test_an_answer_is_text_and_not_markup(browser, routed, upstream):
    upstream.will_answer(completion("<script>alert(1)</script>"))

    shown = (await browser.post(test_url(routed))).text

    assert "<script>alert" not in shown


async def test_a_model_is_tested_over_its_routes_like_a_request(browser, fallback, upstream):
    upstream.will_answer(completion("Hello there."))

    shown = (await browser.post(test_url(fallback))).text

    assert "upstream_unreachable" in shown
    assert "Hello there." in shown


@pytest.fixture
def fallback(provider):
    """A model whose first route leads nowhere."""
    return make_model("m", make_provider("broken", base_url="http://127.0.0.1:1"), provider)


@pytest.fixture
def lost(db):
    """A model without a route."""
    return make_model("lost")


async def test_a_model_without_a_route_says_that_there_is_nothing_to_ask(browser, lost):
    shown = (await browser.post(test_url(lost))).text

    assert "There is nothing to ask" in shown


async def test_a_disabled_provider_can_be_tested_before_it_is_enabled(browser, provider, upstream):
    provider.enabled = False
    await provider.asave()
    upstream.will_answer(completion(usage=usage_of(11, 3)))

    shown = (await browser.post(test_url(provider), {"upstream_model": "tiny"})).text

    assert "Hello there." in shown


async def test_a_test_leaves_no_usage_record(browser, routed, upstream):
    upstream.will_answer(completion(usage=usage_of(11, 3)))

    await browser.post(test_url(routed))

    assert await UsageRecord.objects.acount() == 0


class TestWhoMaySendOne:
    @pytest.fixture
    def rows(self):
        provider = make_provider(kind="echo", base_url="")
        return provider, make_model("m", provider)

    def test_only_by_post(self, client, rows):
        client.force_login(make_admin())

        assert [client.get(test_url(row)).status_code for row in rows] == [405, 405]

    def test_only_with_a_csrf_token(self, rows):
        client = Client(enforce_csrf_checks=True)
        client.force_login(make_admin())

        assert [client.post(test_url(row)).status_code for row in rows] == [403, 403]

    def test_only_after_signing_in(self, client, rows):
        assert [client.post(test_url(row)).status_code for row in rows] == [302, 302]

    def test_nobody_who_may_only_look(self, client, rows):
        viewer = make_user("viewer", is_staff=True)
        viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        client.force_login(viewer)

        assert [client.post(test_url(row)).status_code for row in rows] == [403, 403]

    @pytest.fixture
    def editor(self):
        editor = make_user("editor", is_staff=True)
        editor.user_permissions.set(Permission.objects.filter(codename__startswith="change_"))
        return editor

    async def test_those_who_may_change_the_row(self, async_client, rows, editor):
        await async_client.aforce_login(editor)

        statuses = [(await async_client.post(test_url(row))).status_code for row in rows]

        assert statuses == [200, 200]

    def test_the_button_is_on_the_page_of_those_only(self, client, rows):
        viewer = make_user("viewer", is_staff=True)
        viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        pages = ["admin:registry_provider_change", "admin:registry_servedmodel_change"]
        pages = [reverse(name, args=(row.pk,)) for name, row in zip(pages, rows, strict=True)]

        client.force_login(viewer)
        assert not [page for page in pages if "Send a test request" in client.get(page).text]

        client.force_login(make_admin())
        assert all("Send a test request" in client.get(page).text for page in pages)

    def test_a_row_that_is_gone_is_not_found(self, client):
        client.force_login(make_admin())

        for name in ("gateway-probe-provider", "gateway-probe-model"):
            assert client.post(reverse(name, args=(9**20,))).status_code == 404
