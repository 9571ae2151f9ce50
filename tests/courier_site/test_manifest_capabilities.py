"""What models and routes can do, and options of providers, in a manifest."""

import json

import pytest

from registry.capabilities import Capabilities
from registry.models import Provider, Route, ServedModel
from tests.courier_site.manifests import WHOLE, apply, complaints

pytestmark = pytest.mark.django_db

MODELS = """\
version: 1
providers:
  - {{name: local, kind: {kind}, base_url: "http://127.0.0.1:9/v1"{provider}}}
models:
  - name: m
    routes:
      - {{provider: local, upstream_model: tiny{route}}}
{model}
"""


def text(*, kind="vllm", provider="", route="", model=""):
    return MODELS.format(kind=kind, provider=provider, route=route, model=model)


def test_what_a_model_can_do_is_stored():
    apply(WHOLE)

    model = ServedModel.objects.get()
    expected = Capabilities(context_window=128000, output_limit=16384, tools=True, vision=False)
    assert (model.capabilities, model.on_unsupported) == (expected, "refuse")


def test_what_a_route_can_do_and_must_prove_is_stored():
    apply(WHOLE)

    route = Route.objects.get(priority=0)
    assert route.capabilities == Capabilities(vision=True)
    assert route.requires_certified == ["tools", "stream_usage"]


def test_options_of_a_provider_are_stored():
    apply(WHOLE)

    assert Provider.objects.get(name="local").options == {"speaks": ["openai-responses"]}


def test_what_is_not_given_any_more_is_not_known_any_more():
    apply(text(model="    capabilities: {tools: true, vision: true}"))

    apply(text(model="    capabilities: {tools: true, vision: ~}"))

    assert ServedModel.objects.get().capabilities == Capabilities(tools=True)


def test_a_manifest_without_a_word_of_it_leaves_it_alone():
    apply(text(model="    capabilities: {tools: true}", route=", requires_certified: [tools]"))

    apply(text())

    assert ServedModel.objects.get().tools is True
    assert Route.objects.get().requires_certified == ["tools"]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"model": "    capabilities: {tool: true}"}, 'did you mean "tools"?'),
        ({"model": "    capabilities: {tools: maybe}"}, "tools must be true or false."),
        ({"model": "    capabilities: {context_window: 0}"}, "greater than or equal to 1"),
        ({"model": "    on_unsupported: ignore"}, "Possible: drop, refuse."),
        ({"route": ", requires_certified: [tolls]"}, "It is a list of: usage,"),
        ({"provider": ", options: {region: us-east-1}"}, "no option 'region'"),
        ({"provider": ", options: {speaks: [esperanto]}"}, "This is a list of openai-responses"),
        ({"provider": ", options: 3"}, "Options must be a mapping"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_line(given, complaint):
    (told,) = complaints(text(**given))

    assert told.startswith("line ")
    assert complaint in told


def described(**changed):
    options = {
        "request": {"path": "/say", "body": {"input": "{{messages}}"}},
        "response": {"text": "said"},
        **changed,
    }
    return text(kind="generic", provider=f", options: {json.dumps(options)}")


def test_a_description_is_stored_as_it_is_written():
    apply(described())

    options = Provider.objects.get().options
    assert options["request"]["body"] == {"input": "{{messages}}"}


def test_what_is_wrong_with_a_description_is_told():
    (complaint,) = complaints(described(response={"text": "a..b"}))

    assert "response.text: The path cannot be read" in complaint
