"""Labels that clients give their requests."""

import pytest

from gateway.errors import BadRequest
from gateway.tags import tags_of


@pytest.mark.parametrize(
    ("told", "body", "tags"),
    [
        ("", {}, ""),
        ("search", {}, "search"),
        (" b , a,a,, ", {}, "a,b"),
        ("", {"metadata": {"feature": "search", "step": "2"}}, "feature:search,step:2"),
        ("", {"metadata": {"tags": "b, a"}}, "a,b"),
        ("a", {"metadata": {"tags": "b"}}, "a,b"),
        ("", {"metadata": {"note": "two words", "n": 1, "ok": "yes"}}, "ok:yes"),
        ("", {"metadata": {"long": "x" * 40}}, ""),
        ("", {"metadata": None}, ""),
        ("", {"metadata": "text"}, ""),
        ("", {"metadata": {str(n): "x" for n in range(16)}}, ",".join(f"{n}:x" for n in range(8))),
        ("h1,h2", {"metadata": {str(n): "x" for n in range(9)}},
         "0:x,1:x,2:x,3:x,4:x,5:x,h1,h2"),
    ],
)  # fmt: skip
def test_tags_come_from_the_header_and_from_what_makes_a_label_in_the_metadata(told, body, tags):
    assert tags_of(told, body) == tags


@pytest.mark.parametrize(
    "told",
    ["two words", "=1+1", "-x", "x" * 37, "ü", ",".join("abcdefghi"), 'a,"b"', "a\x00"],
)
def test_a_header_that_names_no_tags_is_refused(told):
    with pytest.raises(BadRequest) as refused:
        tags_of(told, {})

    assert refused.value.param == "x-courier-tags"


async def test_tags_are_on_the_record(chat, courier):
    reply = await chat(headers={"x-courier-tags": "search"}, metadata={"team": "blue"})

    assert (await courier.record(reply.request_id)).tags == "search,team:blue"


async def test_metadata_goes_on_to_the_provider(chat, upstream):
    await chat(metadata={"feature": "search"})

    assert upstream.requests[0]["metadata"] == {"feature": "search"}


async def test_bad_tags_cost_nothing(chat, upstream):
    reply = await chat(headers={"x-courier-tags": "two words"})

    assert (reply.status, reply.error["param"]) == (400, "x-courier-tags")
    assert not upstream.requests
