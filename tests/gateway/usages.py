"""Usage objects as vendors send them, what is to be read of each, and what it then costs."""

from decimal import Decimal

from lib.tokens import TokenUsage
from registry.models import Price

#: Vendor and case: the object, its classes, dollars per million tokens, and nano-dollars.
GOLDEN = {
    "openai, cached input and reasoning": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 256,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        TokenUsage(2006, 1920, 0, 300, 256),
        {"input": "1.25", "cached_input": "0.125", "output": "10"},
        86 * 1250 + 1920 * 125 + 300 * 10_000,
    ),
    "openai, audio in and out": (
        {
            "prompt_tokens": 150,
            "completion_tokens": 90,
            "total_tokens": 240,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 120},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 70},
        },
        TokenUsage(150, 0, 0, 90, audio_input_tokens=120, audio_output_tokens=70),
        {"input": "2.5", "output": "10", "audio_input": "40", "audio_output": "80"},
        30 * 2500 + 120 * 40_000 + 20 * 10_000 + 70 * 80_000,
    ),
    "openrouter, a cache write": (
        {
            "prompt_tokens": 194,
            "completion_tokens": 2,
            "total_tokens": 196,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "cache_write_tokens": 100,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {"reasoning_tokens": 0},
            "cost": 0.95,
        },
        TokenUsage(194, 0, 100, 2),
        {"input": "3", "cached_input": "0.3", "cache_write": "3.75", "output": "15"},
        94 * 3000 + 100 * 3750 + 2 * 15_000,
    ),
    "litellm before anthropic, both kinds of cache write": (
        {
            "prompt_tokens": 1300,
            "completion_tokens": 40,
            "total_tokens": 1340,
            "prompt_tokens_details": {
                "cached_tokens": 800,
                "cache_creation_tokens": 400,
                "cache_creation_token_details": {
                    "ephemeral_5m_input_tokens": 150,
                    "ephemeral_1h_input_tokens": 250,
                },
            },
            "cache_creation_input_tokens": 400,
            "cache_read_input_tokens": 800,
            "server_tool_use": {"web_search_requests": 2},
        },
        TokenUsage(1300, 800, 400, 40, 0, 250, search_units=2),
        {
            "input": "3",
            "cached_input": "0.3",
            "cache_write": "3.75",
            "cache_write_1h": "6",
            "output": "15",
            "search_unit": "0.01",
        },
        100 * 3000 + 800 * 300 + 150 * 3750 + 250 * 6000 + 40 * 15_000 + 2 * 10_000_000,
    ),
    "a proxy that counts the cache beside the prompt": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 40,
            "total_tokens": 1340,
            "cache_creation_input_tokens": 400,
            "cache_read_input_tokens": 800,
        },
        TokenUsage(1300, 800, 400, 40),
        {"input": "3", "cached_input": "0.3", "cache_write": "3.75", "output": "15"},
        100 * 3000 + 800 * 300 + 400 * 3750 + 40 * 15_000,
    ),
    "deepseek, hits and misses of its cache": (
        {
            "prompt_tokens": 500,
            "completion_tokens": 20,
            "total_tokens": 520,
            "prompt_cache_hit_tokens": 448,
            "prompt_cache_miss_tokens": 52,
        },
        TokenUsage(500, 448, 0, 20),
        {"input": "0.28", "cached_input": "0.028", "output": "0.42"},
        52 * 280 + 448 * 28 + 20 * 420,
    ),
    "moonshot, cached tokens at the top": (
        {"prompt_tokens": 500, "completion_tokens": 20, "total_tokens": 520, "cached_tokens": 256},
        TokenUsage(500, 256, 0, 20),
        {"input": "0.6", "cached_input": "0.15", "output": "2.5"},
        244 * 600 + 256 * 150 + 20 * 2500,
    ),
    "xai, reasoning beside the completion": (
        {
            "prompt_tokens": 2640,
            "completion_tokens": 182,
            "total_tokens": 3494,
            "prompt_tokens_details": {"text_tokens": 2640, "audio_tokens": 0, "cached_tokens": 473},
            "completion_tokens_details": {"reasoning_tokens": 672, "audio_tokens": 0},
            "num_sources_used": 0,
        },
        TokenUsage(2640, 473, 0, 854, 672),
        {"input": "0.2", "cached_input": "0.05", "output": "0.5"},
        2167 * 200 + 473 * 50 + 854 * 500,
    ),
    "google, thinking that only the total tells": (
        {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623},
        TokenUsage(20, 0, 0, 603, 405),
        {"input": "0.3", "output": "2.5"},
        20 * 300 + 603 * 2500,
    ),
    "perplexity, searches": (
        {
            "prompt_tokens": 8,
            "completion_tokens": 100,
            "total_tokens": 108,
            "num_search_queries": 3,
        },
        TokenUsage(8, output_tokens=100, search_units=3),
        {"input": "1", "output": "1", "search_unit": "0.005", "request": "0.006"},
        108 * 1000 + 3 * 5_000_000 + 6_000_000,
    ),
}


def price_row(figures):
    return Price(id=1, **{name: Decimal(figure) for name, figure in figures.items()})
