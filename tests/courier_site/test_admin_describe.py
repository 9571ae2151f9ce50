"""Providers that are described: in their form, and on the page to try a description out."""

import json

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from registry.generic import examples
from registry.models import Provider
from tests import factories
from tests.courier_site import forms

pytestmark = pytest.mark.django_db

PAGE = "gateway-describe"
SOUND = {
    "request": {"path": "/say", "body": {"model": "{{model}}", "input": "{{messages}}"}},
    "response": {"text": "said"},
}
EXAMPLES = {example.name: json.dumps(example.options) for example in examples()}


@pytest.fixture
def browser(client):
    client.force_login(factories.make_admin())
    return client


def save(browser, description, **changed):
    fields = {"kind": "generic", "base_url": "https://llm.example.com", **changed}
    return browser.post(
        reverse("admin:registry_provider_add"), forms.provider(description=description, **fields)
    )


def try_out(browser, description, answer="", **changed):
    fields = {"description": description, "answer": answer, **changed}
    return browser.post(reverse(PAGE), fields)


def test_a_sound_description_is_stored(browser):
    save(browser, json.dumps(SOUND))

    assert Provider.objects.get().options == SOUND


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        ("", "request: This is needed."),
        ("{", "This is no JSON: line 1"),
        ('{"a": NaN}', "NaN is no JSON."),
        ('{"a": 1, "a": 2}', "stands twice"),
        ("[" * 9000, "nested too deeply"),
        (json.dumps({**SOUND, "response": {"text": "a..b"}}), "response.text: The path"),
        (json.dumps({**SOUND, "response": {"text": '["\0"]'}}), "NUL"),
    ],
)
def test_what_is_wrong_with_a_description_is_told_at_the_field(browser, description, complaint):
    answer = save(browser, description)

    assert complaint in forms.complaints(answer)["description"]
    assert not Provider.objects.exists()


def test_a_description_of_a_provider_of_another_kind_is_not_looked_at(browser):
    save(browser, "{", kind="openai_compatible")

    assert Provider.objects.get().options == {}


def test_a_stored_description_is_shown(browser):
    provider = factories.make_provider(kind="generic", options=SOUND)

    page = browser.get(reverse("admin:registry_provider_change", args=(provider.pk,)))

    assert json.loads(page.context["adminform"].form.initial["description"]) == SOUND
    assert reverse(PAGE) in page.text


def test_an_example_can_be_loaded(browser):
    page = browser.post(reverse(PAGE), {"example": "ollama-chat", "load": "1"})

    shown = page.context["form"].initial["description"]
    assert json.loads(shown) == json.loads(EXAMPLES["ollama-chat"])


def test_the_description_of_a_provider_can_be_loaded(browser):
    provider = factories.make_provider(kind="generic", options=SOUND)

    page = browser.get(reverse(PAGE), {"provider": provider.pk})

    assert json.loads(page.context["form"].initial["description"]) == SOUND


@pytest.mark.parametrize("pk", ["0", "x", "9" * 40, "²"])
def test_what_is_no_provider_loads_nothing(browser, pk):
    assert browser.get(reverse(PAGE), {"provider": pk}).status_code == 200


def test_a_try_shows_what_would_be_asked(browser):
    outcome = try_out(browser, json.dumps(SOUND)).context["outcome"]

    assert outcome.url.endswith("/say")
    assert ("authorization", "Bearer (the key)") in outcome.headers
    assert json.loads(outcome.body)["input"][0] == {"role": "system", "content": "Be brief."}
    assert outcome.dropped == ["max_tokens", "temperature", "tools"]


def test_a_try_reads_a_whole_answer(browser):
    outcome = try_out(browser, json.dumps(SOUND), '{"said": "Hello."}').context["outcome"]

    assert ("Text", "text 'Hello.'") in outcome.events
    assert outcome.failure == ""


STREAM = """data: {"token": {"text": "Hi"}}\r
\r
data: {"token": {"text": ""}, "generated_text": "Hi", "details": {"finish_reason": "length"}}"""


def test_a_try_reads_a_stream_as_a_browser_sends_it(browser):
    answer = try_out(browser, EXAMPLES["tgi-generate"], STREAM, streams="on")

    outcome = answer.context["outcome"]
    assert [name for name, _ in outcome.events][-2:] == ["Finished", "Ended"]
    assert outcome.url.endswith("/generate_stream")


def test_a_stream_that_is_not_complete_is_told(browser):
    first = STREAM.partition("\r\n")[0]

    outcome = try_out(browser, EXAMPLES["tgi-generate"], first, streams="on").context["outcome"]

    assert "complete" in outcome.failure


@pytest.mark.parametrize("answer", ["not json", "[]", '{"other": 1}'])
def test_an_answer_that_cannot_be_read_is_told(browser, answer):
    outcome = try_out(browser, json.dumps(SOUND), answer).context["outcome"]

    assert outcome.failure.startswith("The answer cannot be read")


def test_an_unsound_description_is_not_tried(browser):
    page = try_out(browser, "{}")

    assert page.context["outcome"] is None
    assert "request: This is needed." in page.text


def test_who_may_not_change_providers_tries_nothing(client):
    viewer = factories.make_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_provider"))
    client.force_login(viewer)

    assert client.get(reverse(PAGE)).status_code == 403


def test_what_a_vendor_says_is_not_a_part_of_the_page(browser):
    page = try_out(browser, json.dumps(SOUND), '{"said": "<script>alert(1)</script>"}')

    assert "<script>alert(1)" not in page.text
