"""How the models of different makers count, as measured (docs/decisions/0011).

Two vocabularies are at hand, OpenAI's. What another one makes of a text is told from what the
nearer of the two makes of it, and from how many characters of each class the text has: one
maker splits every figure into digits, another writes each capital as a token of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from lib.image_tokens import Area, Crops, Fixed, ImageRule, Patches, Tiles

#: Bytes of UTF-8 by what they begin: of letters beyond ASCII, the first byte tells the script.
CLASSES: dict[str, bytes] = {
    "digits": b"0123456789",
    "capitals": b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "spaces": b" ",
    "newlines": b"\n\t",
    "quotes": b"\"'",
    "brackets": b"{}[]()<>",
    "marks": b"!#$%&*+,-./:;=?@\\^_`|~",
    "latin": bytes(range(0xC3, 0xCC)),
    "greek": b"\xcd\xce\xcf",
    "cyrillic": bytes(range(0xD0, 0xD6)),
    "hebrew": b"\xd6\xd7",
    "arabic": bytes(range(0xD8, 0xE0)),
    "indic and thai": b"\xe0",
    "vietnamese": b"\xe1",
    "symbols": b"\xe2",
    "kana": b"\xe3",
    "han": bytes(range(0xE4, 0xEA)),
    "hangul": bytes(range(0xEA, 0xEE)),
    "beyond": bytes(range(0xEE, 0xF5)),
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How one family of models counts."""

    #: Which of the two vocabularies is counted with.
    base: str = "o200k_base"
    #: Tokens for each of that vocabulary's.
    factor: float = 1.0
    #: Tokens for each character beside, in the order of `CLASSES`; empty for none.
    beside: tuple[float, ...] = ()
    #: What stands around each message of a conversation, and once around all of it.
    per_message: int = 4
    per_conversation: int = 3
    #: What stands before tools, if there are any.
    before_tools: int = 0
    #: Whether instructions are a message like others; else nothing stands around them.
    marks_instructions: bool = True
    #: Whether tools are shown as types of TypeScript; else as the JSON that they are.
    types_tools: bool = False
    images: ImageRule = Area()
    #: Tokens of a second of sound, and of a page of a document beside its words.
    per_second: int = 25
    per_page: int = 258


OLDER = Vocabulary("cl100k_base", before_tools=9, types_tools=True, images=Tiles(), per_second=10)
NEWER = replace(OLDER, base="o200k_base")
# fmt: off
CLAUDE = Vocabulary(
    "o200k_base", 1.1190,
    (-0.0851, 0.2763, 0.0373, -0.2214, 0.0292, 0.3342, 0.0693, 0.7902, 0.3057, 0.0636, 0.2936,
     0.3858, 0.5023, 1.0022, -0.1488, 0.0074, 0.2647, 0.5371, -0.2575),
    before_tools=320, marks_instructions=False, per_page=1600,
)
CLAUDE_FROM_4_7 = Vocabulary(
    "o200k_base", 1.4729,
    (-0.2973, 0.6996, 0.0146, -0.4905, -0.0809, 0.3521, 0.0401, 0.6881, 0.1473, -0.0562, 0.1229,
     0.2631, 0.3545, 0.5407, -0.6259, -0.2027, -0.1082, 0.2233, -0.0748),
    before_tools=320, marks_instructions=False, per_page=2000,
    images=Area(longest=2576, most=4784),
)
GEMINI = Vocabulary(
    "o200k_base", 0.8922,
    (0.5925, 0.1074, 0.0354, 0.5979, 0.1260, 0.3644, 0.1917, 0.0659, 0.0540, -0.0075, 0.1226,
     0.0599, -0.0337, -0.0442, -1.0402, -0.2055, -0.0683, -0.0112, -0.0869),
    per_message=0, per_conversation=0, images=Crops(), per_second=32,
)
LLAMA_3 = Vocabulary(
    "o200k_base", 1.0556,
    (-0.0080, -0.0050, -0.0118, 0.0852, -0.0341, 0.0388, -0.1514, -0.0698, -0.0217, -0.0074,
     0.6968, 0.0721, 0.1253, -0.2596, 0.0635, -0.0997, -0.0772, -0.0055, 0.1422),
    per_conversation=5, before_tools=193,
)
QWEN = Vocabulary(
    "cl100k_base", 1.0249,
    (0.5818, 0.0293, 0.0104, 0.0087, -0.0575, -0.1460, -0.1101, -0.6742, -0.0387, -0.1114,
     -0.7282, -0.4138, -0.3152, -0.8343, -0.2421, -0.3523, -0.4468, -0.3553, -0.7703),
    before_tools=138, images=Patches(28, 16384),
)
DEEPSEEK = Vocabulary(
    "cl100k_base", 0.9397,
    (0.0079, 0.0936, 0.0170, 0.1461, 0.0228, 0.1467, 0.1567, 0.1715, -0.4700, -0.1186, -0.5615,
     -0.3628, -0.4904, -0.3617, -0.0572, -0.2454, -0.4425, -0.2588, -0.5099),
    per_message=1, before_tools=145,
)
MISTRAL = Vocabulary(
    "o200k_base", 0.9928,
    (0.5749, 0.1248, 0.0041, 0.0648, -0.0216, 0.0445, 0.0049, 0.1338, 0.0062, 0.0243, 0.0611,
     -0.0132, 0.1188, -0.1225, 0.1743, -0.0680, 0.2058, -0.0352, -0.3147),
    per_message=1, per_conversation=2, before_tools=60, images=Patches(28, 3025),
)
# fmt: on

#: So much of a name is looked at, from its end. No configured one is longer.
LONGEST_NAME = 200
#: What names of models have in them, whoever serves them. The first that fits counts.
FAMILIES: tuple[tuple[re.Pattern[str], Vocabulary], ...] = tuple(
    (re.compile(pattern), vocabulary)
    for pattern, vocabulary in (
        (r"distill-llama", LLAMA_3),
        (r"distill-qwen", QWEN),
        (r"claude-(mythos|[a-z]+-([5-9]|4[-.][7-9])(?!\d))", CLAUDE_FROM_4_7),
        (r"claude", CLAUDE),
        (r"gemini-3", replace(GEMINI, images=Fixed(1120, 280), per_page=560)),
        (r"gemini|gemma", GEMINI),
        (r"qwen|qwq|qvq", QWEN),
        (r"deepseek", DEEPSEEK),
        (r"(mis|mix|mini|code|dev|magi|pix|vox)s?tral", MISTRAL),
        (r"llama-?4", NEWER),
        (r"llama", LLAMA_3),
        (r"^(gpt-4$|gpt-4-|gpt-3\.5|gpt-35|text-embedding-)", OLDER),
        (r"^gpt-4o-mini", replace(NEWER, images=Tiles(2833, 5667))),
        (r"^(gpt-4\.1-mini|gpt-5(\.\d)?-mini)", replace(NEWER, images=Patches(weight=1.62))),
        (r"^(gpt-4\.1-nano|gpt-5(\.\d)?-nano)", replace(NEWER, images=Patches(weight=2.46))),
        (r"^o4-mini", replace(NEWER, images=Patches(weight=1.72))),
        (r"^gpt-5", replace(NEWER, images=Tiles(70, 140))),
        (r"^o[13]", replace(NEWER, images=Tiles(75, 150))),
    )
)


def vocabulary_of(model: str) -> Vocabulary:
    """How `model` counts, by its name; one that nobody knows is taken for OpenAI's newest."""
    return _vocabulary_of(model[-LONGEST_NAME:])


@lru_cache(maxsize=1_000)
def _vocabulary_of(model: str) -> Vocabulary:
    name = model.rpartition("/")[2].lower()
    return next((found for pattern, found in FAMILIES if pattern.search(name)), NEWER)


def counts_of(text: str) -> list[int]:
    """How many characters of each class a text has."""
    given = text.encode(errors="replace")
    size = len(given)
    return [size - len(given.translate(None, members)) for members in CLASSES.values()]
