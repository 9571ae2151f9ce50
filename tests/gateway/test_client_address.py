"""Nobody's word counts for who asks but a trusted proxy's."""

import pytest

from gateway.client_address import client_address, is_trusted, subscriber_of

PROXY, CLIENT, OTHER = "10.0.0.1", "203.0.113.7", "198.51.100.9"


@pytest.fixture(autouse=True)
def _one_network_of_proxies(settings):
    settings.COURIER_TRUSTED_PROXIES = ["10.0.0.0/8", "fd00::/8"]


def address(peer, *told, name=b"x-forwarded-for"):
    headers = [(name, each.encode()) for each in told]
    return client_address({"client": (peer, 1) if peer else None, "headers": headers})


@pytest.mark.parametrize(
    "told",
    [
        (),
        (OTHER,),
        (f"{OTHER}, {PROXY}",),
        (PROXY,),
        ("127.0.0.1",),
        (OTHER, OTHER),
    ],
)
def test_s04_a_stranger_is_who_it_is_whatever_it_says(told):
    assert address(CLIENT, *told) == CLIENT


@pytest.mark.parametrize(
    ("told", "who"),
    [
        ((), PROXY),
        ((CLIENT,), CLIENT),
        ((f"{OTHER}, {CLIENT}",), CLIENT),
        ((OTHER, CLIENT), CLIENT),
        ((f"{CLIENT}, 10.9.9.9",), CLIENT),
        ((f"{OTHER}, {CLIENT}, 10.9.9.9, 10.8.8.8",), CLIENT),
        ((f"{CLIENT}:4711",), CLIENT),
        (("[2001:db8::1]:4711",), "2001:db8::1"),
        (("2001:db8::1",), "2001:db8::1"),
        ((f"::ffff:{CLIENT}",), CLIENT),
        (("unknown",), PROXY),
        ((f"{CLIENT}, nonsense",), PROXY),
        ((f"{CLIENT}, , 10.9.9.9",), "10.9.9.9"),
        (("10.9.9.9",), "10.9.9.9"),
        (("",), PROXY),
        (("\x00" * 50,), PROXY),
        ((f"{CLIENT}," + "10.9.9.9," * 4000 + "10.9.9.9",), "10.9.9.9"),
    ],
)
def test_s04_of_what_a_proxy_says_only_what_proxies_wrote_counts(told, who):
    assert address(PROXY, *told) == who


@pytest.mark.parametrize("name", [b"forwarded", b"x-real-ip", b"x-client-ip", b"true-client-ip"])
def test_s04_other_fields_say_nothing(name):
    assert address(PROXY, OTHER, name=name) == PROXY


def test_who_has_no_address_has_none():
    assert address(None, CLIENT) == ""


def test_without_trusted_proxies_nobody_is_believed(settings):
    settings.COURIER_TRUSTED_PROXIES = []

    assert address(PROXY, CLIENT) == PROXY


def test_a_proxy_is_known_by_either_form_of_its_address():
    assert is_trusted("::ffff:10.1.1.1")
    assert is_trusted("fd00::1")
    assert not is_trusted("")


@pytest.mark.parametrize(
    ("given", "one"),
    [
        (CLIENT, CLIENT),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::2", "2001:db8:0:1::/64"),
        ("::ffff:203.0.113.7", CLIENT),
        ("", ""),
    ],
)
def test_of_ipv6_a_network_is_one_client(given, one):
    assert subscriber_of(given) == one
