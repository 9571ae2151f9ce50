"""Where Courier may connect to, and where never."""

import pytest

from registry.outbound import ForbiddenUpstream, check_address, check_url, check_webhook
from tests.registry.hostile_urls import QUERIES, hostile_urls


@pytest.fixture(autouse=True)
def _no_private_networks(settings):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = []


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://llm.example.com:8080/v1",
        "https://8.8.8.8/v1",
        "https://[2606:4700:4700::1111]/v1",
        "https://xn--bcher-kva.example/v1",
        "echo://local",
        "chaos://local",
    ],
)
def test_an_address_in_the_open_is_allowed(url):
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/v1",
        "http://127.1.2.3:9000",
        "http://0.0.0.0",
        "http://10.0.0.1",
        "http://172.16.0.1",
        "http://192.168.1.1",
        "http://100.64.0.1",
        "http://169.254.169.254/latest/meta-data",
        "http://192.0.2.1",
        "http://198.18.0.1",
        "http://224.0.0.1",
        "http://255.255.255.255",
        "http://[::]",
        "http://[::1]",
        "http://[fe80::1]",
        "http://[fe80::1%25eth0]",
        "http://[fc00::1]",
        "http://[ff02::1]",
        "http://[2001:db8::1]",
        "http://[::ffff:127.0.0.1]",
        "http://[::ffff:7f00:1]",
        "http://[::ffff:169.254.169.254]",
        "http://[64:ff9b::127.0.0.1]",
        "http://[64:ff9b::a9fe:a9fe]",
        "http://[64:ff9b:1::7f00:1]",
        "http://[::127.0.0.1]",
        "http://[::ffff:0:127.0.0.1]",
        "http://[fec0::1]",
        "http://[2001:0:7f00:1::]",
        "http://[2002:7f00:1::]",
        "http://[2002:a9fe:a9fe::1]",
    ],
)
def test_a_private_or_reserved_address_is_forbidden(url):
    with pytest.raises(ForbiddenUpstream, match="private or reserved"):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433",
        "http://0x7f000001",
        "http://0x7f.1",
        "http://0177.0.0.1",
        "http://127.1",
        "http://0",
        "http://127.0.0.01",
        "http://127.0.0.0x1",
    ],
)
def test_an_address_in_an_odd_spelling_is_forbidden(url):
    with pytest.raises(ForbiddenUpstream, match="usual form"):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com/v1",
        "//api.openai.com/v1",
        "ftp://api.openai.com",
        "file:///etc/passwd",
        "gopher://api.openai.com",
        "javascript:alert(1)",
        "unix:///run/docker.sock",
        "https://",
        "https:///v1",
        "https://[::1",
        "https://api.openai.com:99999/v1",
        "https://api.openai.com:port/v1",
        "https://user@api.openai.com/v1",
        "https://user:password@api.openai.com/v1",
        "https://api.openai.com@127.0.0.1/v1",
        "https://api.openai.com/v1?key=secret",
        "https://api.openai.com/v1#fragment",
        "https://api.openai.com /v1",
        "https://api.openai.com/\nv1",
        "https://api.openai.com\\@127.0.0.1/v1",
        "https://api.openai.com./v1",
        "https://localhost./v1",
        "https://１２７.0.0.1/v1",
        "https://bücher.example/v1",
        "https://api.openai.com\x00.example/v1",
    ],
)
def test_a_url_that_could_be_misread_is_forbidden(url):
    with pytest.raises(ForbiddenUpstream):
        check_url(url)


@pytest.mark.parametrize("url", hostile_urls() + QUERIES)
def test_s15_no_url_of_the_corpus_is_one_of_a_provider(url):
    with pytest.raises(ForbiddenUpstream):
        check_url(url)


@pytest.mark.parametrize("url", hostile_urls())
def test_s15_no_url_of_the_corpus_is_one_of_a_webhook(settings, url):
    settings.COURIER_WEBHOOKS_OVER_HTTP = True

    with pytest.raises(ForbiddenUpstream):
        check_webhook(url)


def test_the_reason_never_quotes_a_password():
    with pytest.raises(ForbiddenUpstream) as failure:
        check_url("https://user:hunter2@api.openai.com/v1")

    assert "hunter2" not in str(failure.value)


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::1"]
)
def test_a_network_that_is_named_is_allowed_in_every_spelling(settings, address):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = ["10.0.0.0/8"]

    check_address(address)


def test_naming_one_network_allows_no_other(settings):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = ["10.0.0.0/8"]

    with pytest.raises(ForbiddenUpstream):
        check_address("192.168.1.1")


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1%eth0", "::1", "0.0.0.0"])
def test_what_a_name_resolves_to_is_checked_as_well(address):
    with pytest.raises(ForbiddenUpstream):
        check_address(address)


def test_a_public_address_is_allowed_when_a_name_resolves_to_it():
    check_address("93.184.215.14")
