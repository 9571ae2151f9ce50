import pytest

from lib import tokenizer
from lib.vocabularies import CLASSES, FAMILIES, counts_of, vocabulary_of

ENGLISH = (
    "A budget that is used up refuses every request until its next period begins, and the "
    "message says when that is. Administrators can raise it for a while."
)
CODE = "def total(rows):\n    return sum(row.cost_nano for row in rows if row.is_open)\n"
KOREAN = "예산이 모두 사용되면 다음 기간이 시작될 때까지 모든 요청이 거부됩니다."
CHINESE = "预算用完后，所有请求都会被拒绝，直到下一个周期开始。管理员可以暂时提高预算。"
FIGURES = "2026-03-14,1829374,0.000731,99182,17.25\n" * 4


def test_openai_s_vocabularies_are_exact():
    assert tokenizer.count("hello world, this is a test", "gpt-4o") == 7
    assert tokenizer.count("antidisestablishmentarianism", "gpt-4") == 6


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("gpt-4", "gpt-3.5-turbo"),
        ("vendor/gpt-4o", "gpt-4.1"),
        ("claude-3-5-sonnet-20241022", "claude-opus-4-20250514"),
        ("us.anthropic.claude-sonnet-4-5-v1:0", "claude-opus-4-6"),
        ("claude-opus-4-7", "claude-sonnet-5"),
        ("anthropic/claude-opus-4.8", "claude-mythos-preview"),
        ("models/gemini-2.5-pro", "google/gemma-3-27b-it"),
        ("open-mixtral-8x22b", "Mistral-Small"),
        ("ministral-8b", "codestral-latest"),
        ("Qwen/Qwen3-8B", "deepseek-r1-distill-qwen-32b"),
        ("meta-llama/Llama-3.3-70B", "deepseek-r1-distill-llama-70b"),
        ("what-nobody-knows", "llama-4-scout"),
    ],
)
def test_models_of_one_family_count_alike(model, like):
    assert vocabulary_of(model) == vocabulary_of(like)


def test_families_differ():
    models = ("gpt-4", "gpt-4o", "claude-3", "claude-opus-5", "gemini-2", "qwen3", "deepseek-v3")

    assert len({vocabulary_of(model) for model in models}) == len(models)


#: What the makers' own vocabularies make of these texts; bench/vocabularies.py says which.
MEASURED = {
    "claude-sonnet-4": (32, 26, 42, 42, 92),
    "claude-opus-4-7": (39, 31, 41, 41, 91),
    "gemini-2.5": (31, 27, 20, 22, 160),
    "llama-3": (32, 20, 21, 28, 92),
    "qwen3": (32, 20, 21, 22, 160),
    "deepseek-v3": (32, 22, 23, 20, 92),
    "mistral-small": (32, 21, 20, 36, 160),
}


@pytest.mark.parametrize("model", MEASURED)
def test_a_count_is_near_the_makers_own(model):
    texts = (ENGLISH, CODE, KOREAN, CHINESE, FIGURES)

    counted = [tokenizer.count(text, model) for text in texts]

    assert counted == [pytest.approx(known, rel=0.3) for known in MEASURED[model]]
    assert sum(counted) == pytest.approx(sum(MEASURED[model]), rel=0.05)


def test_every_class_of_characters_has_its_factor():
    factors = [vocabulary.beside for _, vocabulary in FAMILIES if vocabulary.beside]

    assert {len(each) for each in factors} == {len(CLASSES)}


def test_characters_are_counted_by_class():
    names = dict(zip(CLASSES, counts_of('Az 09\n"{.éλж中가かก'), strict=True))

    assert {name: number for name, number in names.items() if number} == {
        "digits": 2, "capitals": 1, "spaces": 1, "newlines": 1, "quotes": 1, "brackets": 1,
        "marks": 1, "latin": 1, "greek": 1, "cyrillic": 1, "han": 1, "hangul": 1, "kana": 1,
        "indic and thai": 1,
    }  # fmt: skip


@pytest.mark.parametrize("model", ["gpt-4o", *MEASURED])
@pytest.mark.parametrize("text", ["a", " ", "\n", "\ud800", "…" * 50, "A" * 50, "\n" * 500])
def test_no_text_is_nothing(model, text):
    assert tokenizer.count(text, model) > 0


def test_nothing_is_nothing():
    assert tokenizer.count("", "gpt-4o") == tokenizer.count_all([], "claude-3") == 0


@pytest.mark.parametrize("model", ["gpt-4o", "claude-3"])
def test_several_texts_are_counted_together(model):
    apart = sum(tokenizer.count(text, model) for text in (ENGLISH, CODE, KOREAN))

    assert abs(tokenizer.count_all([ENGLISH, CODE, KOREAN], model) - apart) <= 1


def test_the_end_of_a_long_text_is_counted_by_its_length():
    long = "a " * 400_000

    counted = tokenizer.count_all([long, long], "gpt-4o")

    by_length = 2 * len(long) - tokenizer.MOST_COUNTED
    assert counted == pytest.approx(tokenizer.MOST_COUNTED / 2 + by_length / 4, rel=0.01)


def test_text_is_made_of_tokens():
    assert tokenizer.text_of([9906, 1917]) == "Hello world"
    assert tokenizer.text_of([]) == ""


@pytest.mark.parametrize("tokens", [[-1], [100_000_000]])
def test_what_is_no_token_has_no_text(tokens):
    with pytest.raises(ValueError, match="token"):
        tokenizer.text_of(tokens)
