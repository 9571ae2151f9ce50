import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.json_path import LONGEST, MOST_STEPS, JsonPath

BODY = {
    "choices": [{"delta": {"content": "a"}}, {"delta": {"content": None}}, {"delta": 7}],
    "a.b": {"x y": 1},
    "deep": [[1, 2], [3]],
    "model-id": "m",
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("choices[0].delta.content", ["a"]),
        ("choices[-3].delta.content", ["a"]),
        ("choices[*].delta.content", ["a", None]),
        ('["a.b"]["x y"]', [1]),
        ("deep[*][*]", [1, 2, 3]),
        ("deep[1]", [[3]]),
        ("model-id", ["m"]),
        ("choices[3]", []),
        ("choices[-4]", []),
        ("choices.delta", []),
        ("deep.x", []),
        ("model-id[0]", []),
        ("missing[*].x", []),
    ],
)
def test_a_path_finds_all_that_is_there(path, found):
    assert JsonPath(path).all(BODY) == found


def test_a_path_may_begin_with_a_list():
    assert JsonPath("[0].generated_text").all([{"generated_text": "x"}]) == ["x"]


def test_the_first_is_the_first_that_is_not_null():
    assert JsonPath("[*].a").first([{"a": None}, {"a": 0}, {"a": 1}]) == 0
    assert JsonPath("[*].a").first([{"a": None}]) is None


@pytest.mark.parametrize(
    "text",
    ["", ".a", "a.", "a..b", "a[", "a[]", "a[x]", "a b", "a.[0]", "a[0]b", "a()", "a|b", "a[?x]"]
    + ["a" * (LONGEST + 1), ".".join("a" * (MOST_STEPS + 1)), 'a[""]', "ä"],
)
def test_what_is_no_path_is_refused_with_a_sentence(text):
    with pytest.raises(ValueError, match=r"\.$"):
        JsonPath(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(st.text(alphabet='abc.[]0-1*"', max_size=12), JSON)
def test_any_text_is_a_path_or_refused_and_any_path_can_be_followed(text, body):
    try:
        path = JsonPath(text)
    except ValueError:
        return
    path.all(body)


def test_following_every_item_costs_no_more_than_there_is():
    body = [[[0] * 10 for _ in range(10)] for _ in range(10)]

    assert len(JsonPath("[*][*][*]").all(body)) == 1000
