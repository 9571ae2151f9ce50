"""How many tokens models make of an image, by the formulas that their makers publish."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class ImageRule(Protocol):
    """How one family of models counts an image of so many pixels."""

    def tokens(self, width: int, height: int, *, small: bool) -> int:
        """`small`: the client asks for a rough look."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Fitted into 2048 by 2048, the shorter side scaled down to 768, cut into squares of 512.

    platform.openai.com/docs/guides/images-vision
    """

    base: int = 85
    each: int = 170

    def tokens(self, width: int, height: int, *, small: bool) -> int:
        if small:
            return self.base
        scale = min(1.0, 2048 / max(width, height))
        scale *= min(1.0, 768 / (min(width, height) * scale))
        tiles = math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
        return self.base + self.each * tiles


@dataclass(frozen=True, slots=True)
class Patches:
    """Squares of `edge` pixels, scaled down to `most` of them, each `weight` tokens."""

    edge: int = 32
    most: int = 1536
    weight: float = 1.0

    def tokens(self, width: int, height: int, *, small: bool) -> int:
        patches = math.ceil(width / self.edge) * math.ceil(height / self.edge)
        return math.ceil(min(patches, self.most) * self.weight)


@dataclass(frozen=True, slots=True)
class Area:
    """A token for so many pixels, the longer side scaled down to `longest`.

    docs.claude.com/en/docs/build-with-claude/vision
    """

    pixels: int = 750
    longest: int = 1568
    most: int = 1600

    def tokens(self, width: int, height: int, *, small: bool) -> int:
        scale = min(1.0, self.longest / max(width, height))
        return min(math.ceil(width * height * scale * scale / self.pixels), self.most)


@dataclass(frozen=True, slots=True)
class Crops:
    """Small ones are one tile; others are cut into tiles two thirds as wide as their short side.

    ai.google.dev/gemini-api/docs/image-understanding
    """

    each: int = 258

    def tokens(self, width: int, height: int, *, small: bool) -> int:
        if small or max(width, height) <= 384:
            return self.each
        scale = min(1.0, 3072 / max(width, height))
        wide, high = width * scale, height * scale
        edge = min(max(math.floor(min(wide, high) / 1.5), 256), 768)
        return self.each * math.ceil(wide / edge) * math.ceil(high / edge)


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same for every image."""

    each: int
    rough: int

    def tokens(self, width: int, height: int, *, small: bool) -> int:
        return self.rough if small else self.each
