"""manage.py explain tells what would become of a request."""

import io
import json
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from courier_site.management.commands.explain import Command, imagined_of
from gateway.simulation import Imagined
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
    assert "- Limits" in words
    assert '"code": "model_not_found"' in words


def asked(*arguments):
    """What is imagined."""
    parser = Command().create_parser("manage.py", "explain")
    return imagined_of(vars(parser.parse_args([*arguments])))


def test_what_the_command_line_says_is_what_is_imagined(key):
    told = asked(
        *("--key", "notebook", "--endpoint", "messages", "--model", "tiny", "--stream"),
        *("--input-tokens", "7", "--output-tokens", "5", "--tags", "a,b", "--session", "one"),
    )

    assert told == Imagined(
        key, "messages", "tiny", input_tokens=7, output_tokens=5,
        streams=True, tags="a,b", session="one",
    )  # fmt: skip


def test_what_the_command_line_leaves_out_is_as_usual(key):
    assert asked("--key", "notebook") == Imagined(key, "chat")


@pytest.mark.parametrize("field", ["name", "public_id", "pk"])
def test_a_key_is_found_by_its_name_its_public_id_and_its_number(key, field):
    assert asked("--key", str(getattr(key, field))).key == key


def test_of_keys_with_the_same_name_the_team_is_asked_for(key):
    other = factories.make_key(factories.make_team("other"), "notebook")

    assert asked("--key", "notebook", "--team", "other").key == other
    with pytest.raises(CommandError, match="Say of which --team"):
        asked("--key", "notebook")


def test_a_key_that_was_archived_is_not_there(key):
    type(key).objects.filter(pk=key.pk).update(archived_at=datetime.now(UTC))

    with pytest.raises(CommandError, match="no API key"):
        asked("--key", "notebook")


def test_a_body_is_read_from_standard_input(key, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"{}")))

    assert asked("--key", "notebook", "--body", "-").body == b"{}"


def test_a_body_that_is_not_there_is_told(key, tmp_path):
    with pytest.raises(CommandError, match="The body cannot be read"):
        asked("--key", "notebook", "--body", str(tmp_path / "none.json"))


def test_json_tells_verdict_decision_and_steps(key, tiny):
    told, status = explained("--key", "notebook", "--model", "tiny", "--json")

    told = json.loads(told)
    assert (status, told["verdict"], told["error"]) == (0, "served", None)
    assert told["decision"]["model"] == "tiny"
    assert [step["title"] for step in told["steps"]][:2] == ["The API key", "Permission"]


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

    told = json.loads(told)
    assert (status, told["verdict"], told["error"]["status"]) == (2, "refused", 400)
    assert "'messages'" in told["error"]["body"]["error"]["message"]


def test_a_key_that_is_not_there_is_named(tiny):
    with pytest.raises(CommandError, match="no API key 'nobody'"):
        explained("--key", "nobody", "--model", "tiny")
