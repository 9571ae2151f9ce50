import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import skeleton
from gateway.dialects.skeleton import Skeleton

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)


def parsed(text, cuts=()):
    kept = Skeleton()
    edges = [0, *sorted(cuts), len(text)]
    for start, end in zip(edges, edges[1:], strict=False):
        kept.feed(text[start:end])
    return kept.parsed()


@given(values, st.booleans(), st.data())
def test_json_without_long_strings_is_what_it_was(value, is_ascii, data):
    text = json.dumps(value, ensure_ascii=is_ascii).encode()
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=5))

    assert parsed(text, cuts) == value


@pytest.mark.parametrize("inside", ["x" * 50, '"' * 50, "\\" * 50, "é\n" * 50])
def test_a_long_string_is_remembered_as_an_empty_one(monkeypatch, inside):
    monkeypatch.setattr(skeleton, "LONGEST_STRING", 40)
    text = orjson.dumps({"a": inside, "b": "short", "c": [inside, 1]})

    for cut in range(len(text)):
        assert parsed(text, [cut]) == {"a": "", "b": "short", "c": ["", 1]}


@pytest.mark.parametrize("text", [b"", b"{", b'{"a": "', b"<html>", b'{"a": 1} more'])
def test_what_is_not_whole_is_an_error(text):
    with pytest.raises(ValueError):
        parsed(text)
