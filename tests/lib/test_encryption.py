"""Secrets at rest, and the ring of keys that opens them."""

from itertools import permutations

import pytest

from lib import encryption
from lib.encryption import CannotDecrypt, Purpose


def encrypt(text, purpose=Purpose.UPSTREAM_KEY):
    return encryption.encrypt(text, purpose)


def decrypt(sealed, purpose=Purpose.UPSTREAM_KEY):
    return encryption.decrypt(sealed, purpose)


@pytest.fixture(autouse=True)
def _ring(settings):
    settings.COURIER_ENCRYPTION_KEYS = ["first key of the ring"]


def test_what_was_sealed_opens_again():
    assert decrypt(encrypt("sk-päss wörd")) == "sk-päss wörd"


def test_the_secret_is_not_to_be_seen_in_the_sealed_text():
    assert "sk-visible" not in encrypt("sk-visible")


def test_sealing_twice_gives_two_texts():
    assert encrypt("sk-same") != encrypt("sk-same")


def test_a_former_key_still_opens_when_a_new_one_comes_first(settings):
    sealed = encrypt("sk-old")

    settings.COURIER_ENCRYPTION_KEYS = ["second key", "first key of the ring"]

    assert decrypt(sealed) == "sk-old"


def test_the_first_key_of_the_ring_seals(settings):
    settings.COURIER_ENCRYPTION_KEYS = ["second key", "first key of the ring"]
    sealed = encrypt("sk-new")

    settings.COURIER_ENCRYPTION_KEYS = ["second key"]

    assert decrypt(sealed) == "sk-new"


def test_a_ring_without_the_right_key_opens_nothing(settings):
    sealed = encrypt("sk-lost")

    settings.COURIER_ENCRYPTION_KEYS = ["another key"]

    with pytest.raises(CannotDecrypt):
        decrypt(sealed)


@pytest.mark.parametrize(("sealed_for", "opened_for"), list(permutations(Purpose, 2)))
def test_what_was_sealed_for_one_purpose_does_not_open_for_another(sealed_for, opened_for):
    sealed = encrypt("sk-for-one-purpose", sealed_for)

    with pytest.raises(CannotDecrypt):
        decrypt(sealed, opened_for)


def test_an_upstream_key_that_the_first_release_sealed_still_opens():
    sealed = (
        "gAAAAABrBv8fQt1UJff4cRdaDXaFq6MkmJs_HO5Yv08lRdEB9xjFTJJrI7sR"
        "OOsbGUAXI6mz5tiTfl-tH8fdC3OzwUGZ78m6l_iP9mqfP_Re3EtbUV5R3eM="
    )

    assert decrypt(sealed) == "sk-of-the-first-release"


@pytest.mark.parametrize("nonsense", ["", "gAAAA", "not sealed at all", "é"])
def test_what_was_never_sealed_does_not_open(nonsense):
    with pytest.raises(CannotDecrypt):
        decrypt(nonsense)


def test_the_failure_quotes_neither_key_nor_text(settings):
    sealed = encrypt("sk-lost")
    settings.COURIER_ENCRYPTION_KEYS = ["another key"]

    with pytest.raises(CannotDecrypt) as failure:
        decrypt(sealed)

    assert "another key" not in str(failure.value)
    assert sealed not in str(failure.value)


def test_a_fingerprint_tells_keys_apart_and_reveals_none():
    one, other = encryption.fingerprint("key one"), encryption.fingerprint("key two")

    assert one != other
    assert len(one) == 8
    assert "key" not in one
