import pytest

from gateway import cors

ORIGIN = b"https://app.example.com"


@pytest.fixture
def _one_origin(settings):
    settings.COURIER_CORS_ORIGINS = [ORIGIN.decode()]


def test_nothing_is_told_while_no_origin_is_configured():
    assert cors.headers_for([(b"origin", ORIGIN)]) == []
    assert cors.preflight_headers([(b"origin", ORIGIN)]) == []


@pytest.mark.usefixtures("_one_origin")
def test_a_page_of_a_configured_origin_may_read_the_answer():
    told = dict(cors.headers_for([(b"origin", ORIGIN)]))

    assert told[b"access-control-allow-origin"] == ORIGIN
    assert told[b"vary"] == b"origin"
    assert b"access-control-allow-credentials" not in told


@pytest.mark.usefixtures("_one_origin")
@pytest.mark.parametrize(
    "origin", [b"https://evil.example", b"null", b"", b"\xff", ORIGIN + b".evil.example"]
)
def test_pages_of_other_origins_may_not(origin):
    assert cors.headers_for([(b"origin", origin)]) == []
    assert cors.preflight_headers([(b"origin", origin)]) == []


@pytest.mark.usefixtures("_one_origin")
def test_a_browser_is_told_which_headers_it_may_send():
    wanted = (b"access-control-request-headers", b"authorization, x-stainless-os")

    told = dict(cors.preflight_headers([(b"origin", ORIGIN), wanted]))

    assert told[b"access-control-allow-headers"] == b"authorization, x-stainless-os"
    assert told[b"access-control-allow-methods"] == b"GET, POST"
