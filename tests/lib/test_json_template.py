import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.json_template import DEEPEST, NOTHING, complaints, placeholders, rendered

VALUES = {"model": "m", "n": 0, "on": False, "list": [1], "none": None, "blank": "", "void": []}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{model}}", "m"),
        ("{{ model }}", "m"),
        ("{{n}}", 0),
        ("{{on}}", False),
        ("{{list}}", [1]),
        ("x-{{model}}-{{n}}-{{on}}", "x-m-0-false"),
        ("plain", "plain"),
        (7, 7),
        (None, None),
        ({"a": "{{model}}", "b": "{{none}}"}, {"a": "m"}),
        ({"a": "x {{none}}"}, NOTHING),
        ({"a": {"b": "{{blank}}"}, "c": 1}, {"c": 1}),
        (["{{void}}", "{{model}}"], ["m"]),
        (["{{void}}"], NOTHING),
        ({}, {}),
        ([], []),
        ({"a": {}, "b": None}, {"a": {}, "b": None}),
        ({"f?": {"t": "json", "s": "{{none}}"}, "x": 1}, {"x": 1}),
        ({"f?": {"m": "{{model}}", "s": "{{none}}"}, "x": 1}, {"x": 1}),
        ({"f?": {"t": "json", "s": "{{model}}"}}, {"f": {"t": "json", "s": "m"}}),
    ],
)
def test_a_template_is_filled_in(template, expected):
    assert rendered(template, VALUES) == expected


def test_a_value_is_data_whatever_it_says():
    assert rendered({"a": "{{model}}"}, {"model": "{{secret}}", "secret": "s"}) == {
        "a": "{{secret}}"
    }


def test_placeholders_are_found_at_every_depth():
    assert placeholders({"a": ["{{x}}", {"b": "1 {{y}} {{z}}"}], "{{k}}": 1}) == {"x", "y", "z"}


@pytest.mark.parametrize(
    ("template", "place"),
    [
        ({"a": "{{unknown}}"}, "a"),
        ({"a": [1, {"b": "{{list}} in a text"}]}, "a[1].b"),
        ({"a": "{{Model}}"}, "a"),
        ({"a": "{{model}"}, "a"),
        ({"a": "{{model.x}}"}, "a"),
        ({"a": "{{model|upper}}"}, "a"),
        ({"{{model}}": 1}, "{{model}}"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(template, place):
    (told,) = complaints(template, {"list"}, {"model"})

    assert told[0] == place
    assert told[1].endswith(".")


def test_a_template_that_is_too_deep_is_refused():
    template = "{{model}}"
    for _ in range(DEEPEST + 1):
        template = [template]

    assert list(complaints(template, (), {"model"}))


JSON = st.recursive(
    st.none() | st.integers() | st.text(alphabet="{} abmodel_?", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet="a?{}", max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_passes_the_check_can_be_filled_in(template):
    if not list(complaints(template, {"list"}, {"model"})):
        rendered(template, VALUES)
