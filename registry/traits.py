"""The traits that the conformance suite certifies. Pure."""

from __future__ import annotations

#: The traits that a run looks at, in its order, with what people read.
TRAITS = {
    "usage": "Usage of whole answers",
    "stream_usage": "Usage of streams",
    "tools": "Tool calls",
    "stream_tools": "Tool calls in streams",
    "parallel_tools": "Several tool calls at once",
    "json_schema": "JSON schema",
    "vision": "Images",
    "reasoning": "Reasoning",
    "logprobs": "Log probabilities",
    "stop": "Stop sequences",
    "output_bound": "Bound of the output",
    "error_shape": "Shape of errors",
    "cancel": "Cancel",
    "silence": "Silences of long answers",
    "retry_after": "Rate limit with Retry-After",
    "embeddings": "Embeddings",
    "embeddings_order": "Order of many embeddings",
}
OF_EMBEDDINGS = frozenset({"embeddings", "embeddings_order"})
