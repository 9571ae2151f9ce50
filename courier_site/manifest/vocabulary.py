"""The words of a manifest that differ from the names in the tables."""

from __future__ import annotations

from accounts.models import RateLimit
from registry.capabilities import NAMES

TIMEOUTS = {
    "connect": "connect_timeout_s",
    "tls": "tls_timeout_s",
    "first_byte": "first_byte_timeout_s",
    "idle": "idle_timeout_s",
    "total": "total_timeout_s",
    "drain": "drain_timeout_s",
}
#: Of a model: which models take over what it cannot serve.
FALLBACKS = {"context": "context_fallbacks", "content": "content_fallbacks"}
METRICS = {
    "r": RateLimit.Metric.REQUESTS,
    "t": RateLimit.Metric.TOKENS,
    "it": RateLimit.Metric.INPUT_TOKENS,
    "ot": RateLimit.Metric.OUTPUT_TOKENS,
}
#: The name of a limit, such as rpm or itpd, to its metric and window.
LIMITS = {
    **{
        f"{initial}p{unit}": (metric, window)
        for initial, metric in METRICS.items()
        for unit, window in zip("smhd", RateLimit.Window, strict=True)
    },
    "concurrency": (RateLimit.Metric.CONCURRENCY, RateLimit.Window.MINUTE),
}
#: Those of an upstream key, to its fields.
KEY_LIMITS = {
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
    "concurrency": "concurrency",
}
#: Field names in complaints of the models, to the keys of the manifest.
KEYS_OF_FIELDS = {
    **dict.fromkeys(TIMEOUTS.values(), "timeouts"),
    **dict.fromkeys(FALLBACKS.values(), "fallbacks"),
    **dict.fromkeys(NAMES, "capabilities"),
    "allowed_endpoints": "endpoints",
    "allowed_models": "models",
    **dict.fromkeys(KEY_LIMITS.values(), "limits"),
    "budget_period": "budget",
    "starts_at": "from",
    "conditions": "when",
    "actions": "then",
}
