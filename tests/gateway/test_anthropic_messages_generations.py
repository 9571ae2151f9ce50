import pytest

from gateway.dialects.anthropic_messages.generations import UNKNOWN, version_of


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("claude-opus-4-7", (4, 7)),
        ("claude-opus-4-20250514", (4, 0)),
        ("claude-sonnet-4-5-20250929", (4, 5)),
        ("claude-haiku-4.5", (4, 5)),
        ("us.anthropic.claude-opus-4-6-v1:0", (4, 6)),
        ("claude-sonnet-5", (5, 0)),
        ("claude-sonnet-5-20270101", (5, 0)),
        ("Claude-Opus-10-1", (10, 1)),
        ("claude-3-7-sonnet-20250219", (3, 7)),
        ("claude-3.5-haiku", (3, 5)),
        ("claude-3-opus-20240229", (3, 0)),
        ("claude-sonnet-4@20250514", (4, 0)),
        ("kimi-k2", UNKNOWN),
        ("claudette", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_a_models_name_tells_its_version(model, version):
    assert version_of(model) == version
