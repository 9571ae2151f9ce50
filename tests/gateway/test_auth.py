import pytest

from accounts.errors import InvalidApiKey, KeyInUrl
from gateway.auth import _secret_in, principal_of


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer abc")],
        [(b"authorization", b"bearer abc")],
        [(b"authorization", b"BEARER   abc  ")],
        [(b"x-api-key", b"abc")],
        [(b"api-key", b" abc ")],
        [(b"x-api-key", b"other"), (b"authorization", b"Bearer abc")],
        [(b"authorization", b"Basic other"), (b"x-api-key", b"abc")],
        [(b"x-api-key", b"abc"), (b"api-key", b"other")],
        [(b"x-goog-api-key", b"abc")],
    ],
)
def test_the_secret_is_found(headers):
    assert _secret_in(headers) == "abc"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Bearer a b")],
        [(b"authorization", b"Basic abc")],
        [(b"authorization", b"abc")],
        [(b"authorization", b"Bearer \xc3\xa9")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"\xff")],
        [(b"cookie", b"authorization=abc")],
    ],
)
def test_without_a_usable_secret_nobody_comes_in(headers):
    with pytest.raises(InvalidApiKey):
        _secret_in(headers)


@pytest.mark.parametrize("query", [b"key=abc", b"alt=sse&key=abc", b"key="])
async def test_a_key_in_the_url_is_refused_even_beside_one_in_a_header(query):
    with pytest.raises(KeyInUrl, match="x-goog-api-key"):
        await principal_of([(b"authorization", b"Bearer abc")], query)


@pytest.mark.parametrize("query", [b"", b"alt=sse", b"monkey=abc", b"a=key=abc"])
async def test_other_queries_are_let_through(query):
    with pytest.raises(InvalidApiKey) as refused:
        await principal_of([], query)

    assert type(refused.value) is InvalidApiKey
