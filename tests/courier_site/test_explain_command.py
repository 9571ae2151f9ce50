"""manage.py explain tells what would become of a request."""

import io
import json

import pytest
from django.core.management import CommandError, call_command

from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tiny(db):
    provider = factories.make_provider("alpha")
    factories.make_upstream_key(provider, name="main")
    model = factories.make_model("tiny")
    factories.make_route(model, provider, upstream_model="alpha-tiny")
    return model


def explained(*arguments):
    """What is written, and the status that the command ends with."""
    out = io.StringIO()
    try:
        call_command("explain", *arguments, stdout=out)
    except SystemExit as end:
        return out.getvalue(), end.code
    return out.getvalue(), 0


def test_what_would_be_served_is_told_in_words(key, tiny):
    words, status = explained("--key", "notebook", "--model", "tiny")

    assert status == 0
    assert "It would be served." in words
    assert "1  |  alpha  |  alpha-tiny  |  main" in words


def test_what_would_be_refused_ends_with_another_status(key, tiny):
    words, status = explained("--key", "notebook", "--model", "nothing")

    assert status == 2
    assert "x Permission: The model 'nothing' does not exist." in words


def test_a_budget_is_known_from_the_ledger(key, tiny, monkeypatch):
    monkeypatch.setattr("usage.budget_keeper.YOUNG_S", 0)
    factories.make_price(tiny, input="100", output="100")
    factories.make_budget(key=key, amount="0.000001")

    told, status = explained("--key", "notebook", "--model", "tiny", "--json")

    assert status == 2
    assert json.loads(told)["error"]["body"]["error"]["code"] == "insufficient_quota"


def test_a_body_is_read_from_a_file(key, tiny, tmp_path):
    body = tmp_path / "body.json"
    body.write_text('{"model": "tiny"}')

    told, status = explained("--key", "notebook", "--body", str(body), "--json")

    assert status == 2
    assert json.loads(told)["error"]["status"] == 400


def test_a_key_that_is_not_there_is_named(tiny):
    with pytest.raises(CommandError, match="no API key 'nobody'"):
        explained("--key", "nobody", "--model", "tiny")
