import pytest

from accounts.errors import InvalidApiKey
from gateway.auth import _secret_in


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
