import io
import re
import tokenize

import pytest

from tests.sources import CHECKOUT, modules

VENDORS = (
    "anthropic", "azure", "bedrock", "claude", "cohere", "deepseek", "fireworks", "gemini", "groq",
    "huggingface", "mistral", "moonshot", "ollama", "openai", "openrouter", "perplexity",
    "vllm", "xai",
)  # fmt: skip
NAME = re.compile(rf"(?<![a-z])({'|'.join(VENDORS)})(?![a-z])", re.IGNORECASE)
#: Names of wire formats, which several vendors speak, and of a tokenizer's package.
NOT_A_VENDOR = re.compile(
    r"openai[-_](chat|completions|embeddings|responses|moderations|images|image_edits)"
    r"|openai[-_](image_variations|speech|transcriptions|translations)"
    r"|anthropic[-_]messages|gemini[-_](embed_one|embed|fields|generate|models)|bpe_openai"
)
#: Where the vendors live, the formats and vocabularies that bear their names, and a configuration
#: to begin with.
AT_HOME = (
    "courier_site/demonstration.py",
    "gateway/dialects/",
    "gateway/providers/",
    "lib/vocabularies.py",
    "registry/kinds.py",
)
STRINGS = {tokenize.STRING}
AFTER_WHICH_A_STRING_IS_PROSE = {tokenize.NEWLINE, tokenize.INDENT, tokenize.ENCODING, tokenize.NL}


def vendors_in(source):
    """Vendors' names in code: comments and docstrings may say what is copied from whom."""
    before = tokenize.ENCODING
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_prose = token.type in STRINGS and before in AFTER_WHICH_A_STRING_IS_PROSE
        if token.type in {tokenize.NAME, tokenize.STRING} and not is_prose:
            for found in NAME.findall(NOT_A_VENDOR.sub("", token.string)):
                yield f"line {token.start[0]}: {found}"
        if token.type != tokenize.COMMENT:
            before = token.type


def test_vendors_are_named_only_where_they_live():
    found = {
        f"{path.relative_to(CHECKOUT)} {vendor}"
        for path in modules()
        if not str(path.relative_to(CHECKOUT)).startswith(AT_HOME)
        for vendor in vendors_in(path.read_text())
    }

    assert found == set()


@pytest.mark.parametrize(
    "source",
    ['if kind == "vllm":\n    pass\n', "from x import OpenAI\n", "ollama_url = 1\n"],
)
def test_a_vendor_in_code_is_found(source):
    assert list(vendors_in(source))


@pytest.mark.parametrize(
    "source",
    ['"""As OpenAI does."""\n', "x = 1  # Azure\n", "from gateway.dialects import openai_chat\n"],
)
def test_prose_and_formats_are_not_vendors(source):
    assert not list(vendors_in(source))
