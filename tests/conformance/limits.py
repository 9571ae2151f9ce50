"""What cannot be, and why: scenarios that ask of an upstream's format what it has no place for.

They are shown as such, not as passed. Whatever fails and is not here, and does not fail the
same way against the upstream itself, is Courier's.
"""

#: By the kind of provider and the scenario's name.
LIMITS = {
    ("anthropic", "chat_n_2"): "the format gives one answer to a request",
    ("anthropic", "chat_n_2_stream"): "the format gives one answer to a request",
    ("anthropic", "chat_logprobs"): "the format tells no probabilities",
    ("anthropic", "passthrough_params"): "the request is translated",
    ("anthropic", "passthrough_unknown_fields"): "the request is translated",
    ("openai_compatible", "messages_passthrough"): "the request is translated",
    ("vllm", "messages_passthrough"): "the request is translated",
}
#: Words in the names of scripts and scenarios that tell the client's format.
WORDS = {"anthropic": ("anthropic", "messages"), "gemini": ("google", "generate")}
OTHER = ("responses", "anthropic", "messages", "google", "generate")


def speaks_the_same(column, script, scenario):
    """Whether the scenario's client and the column's server speak one format.

    Only then does running it without Courier tell what the server itself cannot do.
    """
    name = f"{script.name} {scenario}"
    if column.kind in WORDS:
        return any(word in name for word in WORDS[column.kind])
    return not any(word in name for word in OTHER)


def reason(column, scenario):
    """Why this scenario cannot pass in this column; empty if it should."""
    return LIMITS.get((column.kind, scenario), "")
