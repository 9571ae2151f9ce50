"""What the matrix says of a script's outcome, and whose doing a failure is."""

import pytest

from tests.conformance.matrix import Matrix
from tests.conformance.results import Results
from tests.conformance.scenarios import Outcome, Script
from tests.conformance.upstreams import Column

PYTHON = Script("py_openai.py", "OpenAI SDK, Python", "sdk")
COMPATIBLE = Column("compatible", "Compatible", "openai_compatible", "http://127.0.0.1:1/v1")
CLAUDE = Column("claude", "Claude", "anthropic", "http://127.0.0.1:1/v1")


def matrix_of(column, verdicts, without=None):
    matrix = Matrix([column])
    reasons = {name: f"why {name}" for name in verdicts}
    matrix.outcomes[PYTHON, column.name] = Outcome(verdicts, reasons)
    if without:
        matrix.without[PYTHON, column.name] = Outcome(without, dict.fromkeys(without, "bare"))
    return matrix


def test_a_cell_counts_what_was_asked_and_not_what_was_skipped():
    matrix = matrix_of(COMPATIBLE, {"a": "PASS", "b": "PASS", "c": "SKIP"})

    assert matrix.cell(PYTHON, COMPATIBLE) == "2/2"


@pytest.mark.parametrize(
    ("column", "scenario", "without", "mark"),
    [
        (COMPATIBLE, "chat_plain", {"chat_plain": "PASS"}, "x"),
        (COMPATIBLE, "chat_plain", {"chat_plain": "FAIL"}, "u"),
        (COMPATIBLE, "responses_plain", {"responses_plain": "FAIL"}, "x"),
        (CLAUDE, "chat_plain", {"chat_plain": "FAIL"}, "x"),
        (CLAUDE, "chat_logprobs", None, "f"),
        (CLAUDE, "chat_plain", None, "x"),
    ],
)
def test_a_failure_is_blamed_on_whose_doing_it_is(column, scenario, without, mark):
    matrix = matrix_of(column, {scenario: "FAIL"}, without)

    assert [found for _, found, _ in matrix.failures(PYTHON, column)] == [mark]


def test_the_page_names_what_did_not_pass_and_why():
    page = matrix_of(COMPATIBLE, {"chat_plain": "FAIL"}).page()

    assert "- OpenAI SDK, Python, Compatible, `chat_plain` (x): why chat_plain" in page


def test_what_a_server_lacks_is_named_as_not_asked():
    lacking = Column("l-gemini", "Mock", "gemini", "")

    assert "- Mock, `chat_n_2`: it gives one answer" in matrix_of(lacking, {}).page()


def test_what_a_server_is_known_to_lack_is_its_own_doing():
    matrix = matrix_of(Column("l-gemini", "Mock", "gemini", ""), {"chat_n_2": "FAIL"})

    assert [mark for _, mark, _ in matrix.failures(PYTHON, matrix.columns[0])] == ["u"]


def test_results_of_other_columns_are_kept(tmp_path):
    kept = tmp_path / "results.json"
    Results(kept).keep(COMPATIBLE, PYTHON, Outcome({"a": "PASS"}, {"a": ""}), None)
    Results(kept).keep(CLAUDE, PYTHON, Outcome({"a": "FAIL"}, {"a": "so"}), None)

    matrix = Results(kept).matrix()

    assert [matrix.cell(PYTHON, column) for column in matrix.columns] == ["1/1", "0/1 · 1 **x**"]
