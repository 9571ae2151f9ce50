import struct

import pytest

from lib.image_size import size_of

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480)
GIF = b"GIF89a" + struct.pack("<HH", 640, 480)
FRAME = b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, 480, 640, 3)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(9) + b"\xff\xc4\x00\x04\x00\x00" + FRAME
LOSSY = b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(10) + struct.pack("<HH", 640, 480)
LOSSLESS = b"RIFF\x00\x00\x00\x00WEBPVP8L" + bytes(4) + b"\x2f" + struct.pack("<I", 639 | 479 << 14)
EXTENDED = b"RIFF\x00\x00\x00\x00WEBPVP8X" + bytes(8) + b"\x7f\x02\x00" + b"\xdf\x01\x00"
ALL = {
    "png": PNG, "gif": GIF, "jpeg": JPEG, "webp": LOSSY, "webp-l": LOSSLESS, "webp-x": EXTENDED,
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(ALL))
def test_the_size_is_read(kind):
    assert size_of(ALL[kind] + b"more") == (640, 480)


@pytest.mark.parametrize("kind", sorted(ALL))
def test_a_file_that_is_cut_short_has_no_size(kind):
    assert [size_of(ALL[kind][:length]) for length in range(len(ALL[kind]) - 3)].count(None) > 0
    assert size_of(ALL[kind][:9]) is None


@pytest.mark.parametrize(
    "head", [b"", b"%PDF-1.7", b"RIFF\x00\x00\x00\x00WEBPABCD" + bytes(99), b"\xff\xd8" + bytes(99)]
)
def test_what_is_no_image_has_no_size(head):
    assert size_of(head) is None


def test_an_image_without_pixels_has_no_size():
    assert size_of(GIF[:6] + bytes(4)) is None
