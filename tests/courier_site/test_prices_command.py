"""`manage.py prices`: present prices beside the shipped list."""

from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from registry.models import Price
from tests.factories import make_model, make_provider

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _models():
    openai = make_provider("openai", base_url="https://api.openai.com/v1")
    make_model("gpt-4o-mini", openai, priced=False)
    make_model("gpt-4.1-mini", openai, priced=False)
    make_model("house-blend", make_provider())


def run(capsys, *arguments):
    """What is printed, and the exit code."""
    code = 0
    try:
        call_command("prices", *arguments)
    except SystemExit as end:
        code = end.code
    return capsys.readouterr().out, code


def test_differences_are_printed_and_told_by_the_exit_code(capsys):
    printed, code = run(capsys)

    assert "gpt-4o-mini: as openai / gpt-4o-mini" in printed
    assert "input unknown → $0.15" in printed
    assert "house-blend: not in the list." in printed
    assert code == 2


def test_nothing_is_written_unless_asked_for(capsys):
    run(capsys, "gpt-4o-mini")

    assert not Price.objects.filter(model__name="gpt-4o-mini").exists()


def test_what_is_applied_no_longer_differs(capsys):
    _, applied = run(capsys, "--apply")

    _, code = run(capsys)

    assert (applied, code) == (0, 0)


def test_only_the_models_named_are_looked_at(capsys):
    run(capsys, "--apply", "gpt-4o-mini")

    assert not Price.objects.filter(model__name="gpt-4.1-mini").exists()


def test_a_start_can_be_chosen(capsys):
    run(capsys, "--apply", "--from", "2026-11-01", "gpt-4o-mini")

    price = Price.objects.get(model__name="gpt-4o-mini")
    assert price.starts_at == datetime(2026, 11, 1, tzinfo=UTC)


def test_a_model_that_is_not_there_is_refused(capsys):
    with pytest.raises(CommandError, match="no model named nothing"):
        run(capsys, "nothing")


@pytest.mark.parametrize("text", ["tomorrow", "2026-13-01"])
def test_a_start_that_is_no_date_is_refused(capsys, text):
    with pytest.raises(CommandError, match="is no date"):
        run(capsys, "--from", text)
