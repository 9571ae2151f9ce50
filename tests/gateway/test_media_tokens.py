import base64
import struct

import pytest

from gateway.canonical import Media
from gateway.media_tokens import BYTES_PER_PAGE, WORDS_PER_PAGE, tokens_of, words_in
from lib.vocabularies import Vocabulary

VOCABULARY = Vocabulary(per_second=10, per_page=100)


def media(kind, content, media_type=""):
    return Media(kind, media_type, base64.b64encode(content).decode())


def test_an_image_whose_size_cannot_be_seen_is_of_the_usual_one():
    usual = tokens_of(Media("image", url="https://example.com/a.png"), VOCABULARY)

    assert usual == tokens_of(Media("image", data="not base64!"), VOCABULARY) == 1399


def test_a_sound_is_counted_by_the_second():
    wave = b"RIFF\x00\x00\x00\x00WAVEfmt " + struct.pack("<IHHI", 16, 1, 1, 16000)
    wave += struct.pack("<I", 32_000) + bytes(32_000 * 3)

    assert tokens_of(media("audio", wave), VOCABULARY) == 30
    assert tokens_of(media("audio", bytes(32_000)), VOCABULARY) == 20


@pytest.mark.parametrize("rate", [0, 2**32 - 1])
def test_a_sound_that_lies_about_itself_is_counted_all_the_same(rate):
    wave = b"RIFF\x00\x00\x00\x00WAVEfmt " + struct.pack("<IHHII", 16, 1, 1, 16000, rate)

    assert tokens_of(media("audio", wave + bytes(1000)), VOCABULARY) > 0


def test_the_pages_of_a_document_are_counted():
    pages = b"%PDF-1.7 << /Type /Pages >> << /Type /Page >> <</Type/Page\n>>"

    assert tokens_of(media("document", pages), VOCABULARY) == 2 * (100 + WORDS_PER_PAGE)


def test_a_document_whose_pages_cannot_be_seen_is_counted_by_its_length():
    content = bytes(3 * BYTES_PER_PAGE)

    assert tokens_of(media("document", content), VOCABULARY) == 3 * (100 + WORDS_PER_PAGE)


def test_of_a_document_that_is_a_text_the_words_are_counted():
    text = media("document", b"Some words.", "text/plain")

    assert (words_in(text), tokens_of(text, VOCABULARY)) == ("Some words.", 0)
