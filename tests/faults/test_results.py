import os
import subprocess
import sys

import pytest

from tests.faults.document import Row
from tests.faults.results import NOT_FINISHED, Results, lines_of, not_finished, slowest
from tests.sources import CHECKOUT

CUT_SHORT = """
import os
import pytest

def test_r42_first():
    pass

@pytest.mark.parametrize("number", [1, 2])
def test_r41_r42_second(number):
    os._exit(1)
"""


def told(test, outcome="passed", took_s=1.0, trials="all"):
    """A line of what the plugin writes."""
    return {"test": test, "outcome": outcome, "why": "", "took_s": took_s, "in_ci": True,
            "trials": trials}  # fmt: skip


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results.json")


def test_a_run_that_is_cut_short_leaves_its_numbers_not_finished(tmp_path, results):
    (tmp_path / "test_cut.py").write_text(CUT_SHORT)
    # Those of a worker would be told by whoever started it.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = "-m pytest -q -p tests.faults.plugin -p no:django -c"
    subprocess.run(
        [sys.executable, *command.split(), os.devnull, f"--rootdir={tmp_path}", tmp_path],
        env=own | {"COURIER_RESULTS": str(tmp_path / "lines"), "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
    )

    results.keep("SQLite", lines_of(tmp_path / "lines"), [], {"R41", "R42"})

    [(_, _, tests)] = results.runs_of("R42")
    assert {name: known["outcome"] for name, known in tests.items()} == {
        "test_cut.py::test_r42_first": "passed",
        "test_cut.py::test_r41_r42_second": NOT_FINISHED,
    }
    assert [Row(number, results).result for number in ("R41", "R42")] == ["**not finished**"] * 2


def test_what_is_not_found_out_does_not_pass_for_what_was_found_out_before(results):
    results.keep("SQLite", [told("t.py::test_f07_a")], [{"promise": "F07", "seen": "1"}], {"F07"})
    before = Row("F07", results)
    results.keep("SQLite", not_finished(["t.py::test_f07_a"]), [], {"F07"})
    after = Row("F07", results)

    assert (before.result, before.figures) == ("kept", ["1"])
    assert (after.result, after.figures) == ("**not finished**", [])


def test_pieces_come_to_the_same_as_the_whole(results, tmp_path):
    lines = [told("t.py::test_f07_f08_a"), told("t.py::test_f08_b", "failed")]
    whole = Results(tmp_path / "whole.json")
    whole.keep("SQLite", lines, [], {"F07", "F08"})
    for number in ("F07", "F08"):
        results.keep("SQLite", lines, [], {number})

    assert results.kept == whole.kept


def test_the_page_tells_whether_a_number_had_all_its_trials(results):
    few = told("t.py::test_f08_b", trials="few")
    results.keep("SQLite", [told("t.py::test_f07_a"), told("t.py::test_f08_a"), few], [],
                 {"F07", "F08"})  # fmt: skip

    assert [Row(number, results).trials for number in ("F07", "F08")] == ["all", "few"]


def test_the_slowest_come_first():
    lines = [told("quick", took_s=9), told("slow", took_s=20), told("slower", took_s=30)]

    assert slowest(lines) == [(30, "slower"), (20, "slow")]
