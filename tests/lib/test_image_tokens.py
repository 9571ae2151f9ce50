"""The examples of the makers' own pages."""

import pytest

from lib.image_tokens import Area, Crops, Fixed, Patches, Tiles


@pytest.mark.parametrize(
    ("rule", "size", "tokens"),
    [
        (Tiles(), (1024, 1024), 765),
        (Tiles(), (2048, 4096), 1105),
        (Tiles(2833, 5667), (512, 512), 8500),
        (Patches(), (1024, 1024), 1024),
        (Patches(), (1800, 2400), 1536),
        (Patches(weight=1.62), (1024, 1024), 1659),
        (Area(), (200, 200), 54),
        (Area(), (1000, 1000), 1334),
        (Area(), (1092, 1092), 1590),
        (Area(), (9000, 9000), 1600),
        (Area(longest=2576, most=4784), (2576, 1600), 4784),
        (Crops(), (384, 384), 258),
        (Crops(), (960, 540), 6 * 258),
        (Fixed(1120, 280), (10, 10), 1120),
    ],
)
def test_an_image_is_counted_as_its_maker_says(rule, size, tokens):
    assert rule.tokens(*size, small=False) == tokens


@pytest.mark.parametrize(
    ("rule", "tokens"), [(Tiles(), 85), (Crops(), 258), (Fixed(1120, 280), 280)]
)
def test_a_rough_look_is_cheaper(rule, tokens):
    assert rule.tokens(4096, 4096, small=True) == tokens


@pytest.mark.parametrize("rule", [Tiles(), Patches(), Area(), Crops(), Fixed(5, 5)])
@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (2**31, 2**31)])
def test_every_size_has_a_count(rule, size):
    assert 0 < rule.tokens(*size, small=False) < 2**40
