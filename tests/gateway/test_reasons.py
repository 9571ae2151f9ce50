"""Every reason for which a target is left out has words, and a line in the documentation."""

import ast

import pytest

from gateway import errors, keys
from gateway.reasons import REASONS, words_of
from registry import interventions
from tests.sources import CHECKOUT
from tests.test_docs import subclasses

#: Where the reason stands in a call, by what is called.
PLACES = {"Out": 0, "left_out": 2, "Dropped": 1}


def texts_in(node):
    """The texts that an expression may stand for."""
    return [
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value
    ]


def written_in(path):
    """The codes that a module writes out: in calls, in what policies filter by, in assignments."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in PLACES:
            place = PLACES[node.func.id]
            yield from texts_in(node.args[place]) if len(node.args) > place else ()
        elif isinstance(node, ast.Yield) and path.name == "policies.py":
            yield from texts_in(node.value.elts[0])
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "attr", "") == "asked_by":
            yield from texts_in(node.value)


def codes():
    found = {code for path in CHECKOUT.glob("gateway/*.py") for code in written_in(path)}
    found |= {value for name, value in vars(keys).items() if name.isupper() and type(value) is str}
    found |= {interventions.DRAINED, interventions.PINNED_ELSEWHERE}
    skipped = [kind for kind in subclasses(errors.UpstreamError) if not kind.was_called]
    return sorted(found | {kind.code for kind in skipped})


def test_reasons_are_found_where_they_are_written():
    assert {"not_priced", "excluded", "breaker_open", "asked_to_wait", "throttled"} <= set(codes())


@pytest.mark.parametrize("code", codes())
def test_every_reason_has_words(code):
    assert REASONS[code].endswith(".")


def test_no_words_are_for_a_reason_that_nobody_gives():
    assert sorted(REASONS) == codes()


@pytest.mark.parametrize("code", sorted(REASONS))
def test_every_reason_is_in_the_documentation(code):
    page = (CHECKOUT / "docs" / "routing.md").read_text()

    assert f"| `{code}` | {REASONS[code]} |" in page


def test_a_reason_is_told_in_its_words():
    assert words_of("excluded") == REASONS["excluded"]


def test_a_reason_of_a_newer_version_is_told_as_it_is():
    assert words_of("moon_is_full") == "Moon is full."
