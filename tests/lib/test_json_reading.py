"""JSON that is read, and JSON that is too deep."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.json_reading import MOST_LEVELS, TooDeep, loads

VALUES = st.recursive(
    st.none() | st.integers(-5, 5) | st.text('[]{}"\\n', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\'), inner),
)


def nested(levels, inside="0"):
    return "[" * levels + inside + "]" * levels


@given(VALUES)
def test_what_is_not_deep_is_read(value):
    text = orjson.dumps([value] * (MOST_LEVELS + 1))

    assert loads(text) == orjson.loads(text)


@pytest.mark.parametrize("text", [nested(MOST_LEVELS), nested(MOST_LEVELS).encode()])
def test_the_last_level_is_read(text):
    assert loads(text) == orjson.loads(text)


@pytest.mark.parametrize("text", [nested(MOST_LEVELS + 1), nested(MOST_LEVELS + 1).encode()])
def test_one_level_more_is_too_deep(text):
    with pytest.raises(TooDeep):
        loads(text)


def test_objects_count_as_levels():
    text = '{"a":' * (MOST_LEVELS + 1) + "0" + "}" * (MOST_LEVELS + 1)

    with pytest.raises(TooDeep):
        loads(text)


@pytest.mark.parametrize("word", ["]", '"]', '\\"]', "\\", '\\\\"'])
def test_brackets_in_strings_close_nothing(word):
    item = orjson.dumps(word).decode()

    with pytest.raises(TooDeep):
        loads(f"[{item}," * (MOST_LEVELS + 1) + "0" + "]" * (MOST_LEVELS + 1))


def test_brackets_in_strings_open_nothing():
    assert loads(orjson.dumps("[" * 1000)) == "[" * 1000


def test_what_is_no_json_is_a_value_error():
    with pytest.raises(ValueError, match="unexpected"):
        loads(b"[")
