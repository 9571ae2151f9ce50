import pytest

from tests.faults.kept import kept
from tests.faults.promises import NOT_YET, PROMISES, SECTIONS, WITHOUT_TEST, ids_in

KEPT = set(kept())


def test_every_promise_has_a_test_or_a_reason():
    assert set(PROMISES) - KEPT - set(WITHOUT_TEST) - NOT_YET == set()


def test_every_number_that_a_test_names_is_promised():
    assert KEPT - set(PROMISES) == set()


def test_every_promise_stands_in_one_section():
    listed = [number for numbers in SECTIONS.values() for number in numbers]

    assert sorted(listed) == sorted(PROMISES)


def test_reasons_are_sentences():
    assert [reason for reason in WITHOUT_TEST.values() if not reason.endswith(".")] == []


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("test_f07_it_waits", ["F07"]),
        ("tests/a/test_b.py::test_r04_f53_a_crash[x::y]", ["R04", "F53"]),
        ("tests/a/test_b.py::test_r04_f53_a_crash[x]", ["R04", "F53"]),
        ("test_files_are_kept", []),
        ("test_r2_is_no_number", []),
    ],
)
def test_numbers_are_read_from_a_tests_name(name, numbers):
    assert ids_in(name) == numbers
