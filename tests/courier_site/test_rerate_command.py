"""`manage.py rerate`: a past period priced anew."""

from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from courier_site.management.commands.rerate import Command
from tests.courier_site.rows import make_record
from tests.factories import make_key, make_model, make_price, make_team
from usage.models import UsageAdjustment

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
DAY = ("--from", "2026-11-10", "--to", "2026-11-10")


@pytest.fixture(autouse=True)
def _a_request_that_was_charged_too_much():
    price = {"input": "1", "output": "0", "starts_at": datetime(2026, 1, 1, tzinfo=UTC)}
    make_price(make_model("gpt-4o", priced=False), **price)
    key = make_key(make_team("research"))
    make_record(key, at=NOON, input_tokens=1_000_000, cost_nano=3 * 10**9)


def run(capsys, *arguments):
    """What is printed, and the exit code."""
    code = 0
    try:
        call_command("rerate", *arguments)
    except SystemExit as end:
        code = end.code
    return capsys.readouterr().out, code


def test_the_difference_is_shown_and_told_by_the_exit_code(capsys):
    assert run(capsys, *DAY) == ("research: $3.00 → $1.00, 1 of 1 requests differ\n", 2)
    assert not UsageAdjustment.objects.exists()


def test_what_is_applied_no_longer_differs(capsys):
    printed, applied = run(capsys, *DAY, "--apply")

    assert "1 adjustments were written" in printed
    assert (applied, run(capsys, *DAY)[1]) == (0, 0)


def test_a_period_without_requests_says_so(capsys):
    printed, code = run(capsys, "--from", "2026-10-01", "--to", "2026-10-31")

    assert (printed, code) == ("There are no such requests.\n", 0)


def test_other_teams_are_left_out(capsys):
    make_team("other")

    assert "There are no such requests." in run(capsys, *DAY, "--team", "other")[0]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--from", "x", "--to", "2026-11-10"), "is no day"),
        (("--from", "2026-11-11", "--to", "2026-11-10"), "must not be after"),
        ((*DAY, "--team", "nobody"), "no team named"),
    ],
)
def test_what_makes_no_sense_is_refused(capsys, arguments, complaint):
    with pytest.raises(CommandError, match=complaint):
        run(capsys, *arguments)


def test_a_day_that_is_none_is_told_without_a_traceback(capsys):
    with pytest.raises(SystemExit, match="1"):
        Command().run_from_argv(["manage.py", "rerate", "--from", "x", "--to", "2026-11-10"])

    assert capsys.readouterr().err == 'CommandError: "x" is no day: write one such as 2026-01-31.\n'
