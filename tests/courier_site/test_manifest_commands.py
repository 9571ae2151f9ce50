"""The commands: what they print, and their exit codes."""

import pytest

from accounts.keys import archive_key
from accounts.models import ApiKey, Team
from courier_site import manifest
from tests.courier_site.manifests import run

pytestmark = pytest.mark.django_db

KEY = "version: 1\nteams: [{name: research}]\nkeys: [{name: demo, team: research}]\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "courier.yaml"
    path.write_text(KEY)
    return path


def test_a_plan_that_would_change_something_ends_with_two(file):
    output, _, code = run("plan", str(file))

    assert code == 2
    assert "add team research\n" in output
    assert "\n+- name: research\n" in output
    assert not Team.objects.exists()


def test_a_plan_that_would_change_nothing_ends_with_zero(file):
    run("apply", str(file))

    assert run("plan", str(file)) == ("Nothing would change.\n", "", 0)


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_mistake_is_told_on_standard_error_and_ends_with_one(command, file):
    file.write_text(KEY.replace("teams", "team"))

    output, errors, code = run(command, str(file))

    assert (output, code) == ("", 1)
    assert errors.startswith('courier.yaml, line 2: Unknown key "team" in the manifest')


def test_a_secret_that_was_issued_is_printed_once(file):
    output, _, _ = run("apply", str(file))
    again, _, _ = run("apply", str(file))

    assert "API key demo, shown only now: sk-courier-" in output
    assert again == "Nothing to change.\n"


def test_rows_are_marked_with_the_files_name_and_not_its_folder(file):
    run("apply", str(file))

    assert ApiKey.objects.get().managed_by == "courier.yaml"


def test_warnings_go_to_standard_error(file):
    run("apply", str(file))
    archive_key(ApiKey.objects.get())

    _, errors, code = run("apply", str(file))

    assert errors.startswith("Warning: courier.yaml, line 3: The key demo was revoked")
    assert code == 0


def test_pruning_has_to_be_asked_for(file):
    run("apply", str(file))
    file.write_text("version: 1\n")

    run("apply", str(file))
    assert Team.objects.exists()

    run("apply", str(file), "--prune")
    assert not Team.objects.exists()


def test_an_export_is_the_manifest(file):
    run("apply", str(file))

    assert run("export") == (manifest.export(), "", 0)
