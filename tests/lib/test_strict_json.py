"""JSON that some read one way and some another is not read."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import strict_json
from lib.json_reading import TooDeep
from lib.strict_json import LONGEST_TEXT, MOST_FIELDS, MOST_LEVELS, OutOfBounds, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(VALUES)
def test_what_is_plain_is_read_as_others_read_it(value):
    text = orjson.dumps(value)

    assert loads(text) == orjson.loads(text)


AMBIGUOUS = {
    "a field twice": b'{"a":1,"a":1}',
    "a field twice below": b'[{"b":{"a":1,"x":0,"a":2}}]',
    "a field twice in other letters": b'{"model":1,"\\u006dodel":2}',
    "an empty field twice": b'{"":1,"":2}',
    "NaN": b"[NaN]",
    "Infinity": b"[Infinity]",
    "-Infinity": b"[-Infinity]",
    "nan": b"[nan]",
    "half a pair": b'"\\ud800"',
    "half a pair before text": b'"\\ud800x"',
    "the second half": b'"\\udc00"',
    "halves in the wrong order": b'"\\udc00\\ud800"',
    "half a pair as a field": b'{"\\ud800":1}',
    "half a pair in UTF-8": b'"\xed\xa0\x80"',
    "an overlong slash": b'"\xc0\xaf"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"',
    "Latin-1": b'"\xe9"',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a":1}'.encode("utf-16-le"),
    "UTF-32": '{"a":1}'.encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a control character": b'"\x01"',
    "a line in a text": b'"a\nb"',
    "NUL": b"\x00{}",
    "NUL behind": b"{}\x00",
    "two values": b"{}{}",
    "a comment": b"{}//x",
    "a comma too many": b"[1,]",
    "single quotes": b"{'a':1}",
    "a name without quotes": b"{a:1}",
    "a leading zero": b"[01]",
    "a plus": b"[+1]",
    "hexadecimal": b"[0x1]",
    "a point without digits": b"[1.]",
    "an escape that is none": b'"\\x41"',
    "nothing": b"",
    "blanks": b" \n",
}

OUT_OF_BOUNDS = {
    "-2^63-1": b"[-9223372036854775809]",
    "2^64": b"[18446744073709551616]",
    "a thousand digits": b"[" + b"7" * 1000 + b"]",
    "1e400": b"[1e400]",
    "-1E+309": b"[-1E+309]",
    "1e0000309": b"[1e0000309]",
}


@pytest.mark.parametrize("text", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_s42_what_others_may_read_otherwise_is_refused(text):
    with pytest.raises(ValueError):
        loads(text)


@pytest.mark.parametrize("text", OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_s42_numbers_that_do_not_fit_are_refused(text):
    with pytest.raises(OutOfBounds):
        loads(text)


@pytest.mark.parametrize(
    "text",
    [b"[18446744073709551615,-9223372036854775808]", b"[1e308]", b'["18446744073709551616"]'],
)
def test_s42_the_largest_numbers_are_read(text):
    assert loads(text) == orjson.loads(text)


@pytest.mark.parametrize("text", [b"\xef\xbb\xbf{}", '{"a":1}'.encode("utf-16")])
def test_who_sends_a_byte_order_mark_is_told_so(text):
    with pytest.raises(ValueError, match="byte order mark"):
        loads(text)


def test_a_number_of_five_thousand_digits_is_refused():
    with pytest.raises(ValueError):
        loads(b"[" + b"1" * 5000 + b"]")


@pytest.mark.parametrize(("before", "after"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_s41_so_many_levels_are_read_and_no_more(before, after, more):
    levels = MOST_LEVELS + more
    text = before * levels + b"0" + after * levels

    if more > 0:
        with pytest.raises(TooDeep):
            loads(text)
    else:
        assert loads(text) == orjson.loads(text)


def test_s41_a_hundred_thousand_levels_are_no_recursion():
    with pytest.raises(ValueError):
        loads(b"[" * 100_000)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_s41_an_object_has_so_many_fields_and_no_more(more):
    text = orjson.dumps([{str(each): 0 for each in range(MOST_FIELDS + more)}])

    if more > 0:
        with pytest.raises(OutOfBounds):
            loads(text)
    else:
        assert loads(text) == orjson.loads(text)


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize(
    ("what", "most"), [({}, strict_json.MOST_OBJECTS), (1, strict_json.MOST_VALUES)]
)
def test_s41_so_many_objects_and_values_are_read_and_no_more(what, most, more):
    text = orjson.dumps([what] * (most + more))

    if more > 0:
        with pytest.raises(OutOfBounds):
            loads(text)
    else:
        assert len(loads(text)) == most + more


def test_commas_and_braces_in_a_text_are_no_values():
    text = orjson.dumps(['\\",{' * strict_json.MOST_VALUES])

    assert loads(text) == orjson.loads(text)


def test_s41_many_objects_together_may_have_more_fields():
    assert len(loads(orjson.dumps([{"a": 0, "b": 1}] * MOST_FIELDS))) == MOST_FIELDS


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("as_name", [False, True])
def test_s41_a_text_is_so_long_and_no_longer(more, as_name):
    text = orjson.dumps({"x" * (100 + more): 0} if as_name else ["x" * (100 + more)])

    if more > 0:
        with pytest.raises(OutOfBounds):
            loads(text, longest_text=100)
    else:
        assert loads(text, longest_text=100) == orjson.loads(text)


def test_s41_the_bound_of_texts_is_eight_megabytes():
    assert LONGEST_TEXT == 8 * 1024 * 1024
