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
_MOCK = {
    "chat_n_2": "it gives one answer whatever is asked",
    "chat_n_2_stream": "it gives one answer whatever is asked",
    "chat_logprobs": "it tells no probabilities",
    "chat_stop_max_tokens": "it heeds no limit of tokens",
}
_LLMOCK = {
    **_MOCK,
    "openai_structured": "it answers with no JSON where only words ask for it",
    "instructor_json": "it answers with no JSON where only words ask for it",
}
_UNENDED = "so small a model ends its tool calls only with a logit_bias, which is not sent here"
_RANDOM = "a model of random weights never chooses a tool"
_NAMES = "the client takes only names of models that it knows"
#: What servers do not do, or their models, where no run without Courier would show it. A
#: scenario of one script alone is named with it.
LACKS = {
    "anthropic": _MOCK,
    "gemini": _MOCK,
    "l-anthropic": {
        **_LLMOCK,
        "fault_stream_dropped": "it breaks before the first output, so that Courier asks again",
    },
    "l-gemini": _LLMOCK,
    "llamacpp": {
        "messages_tool_roundtrip": _UNENDED,
        "messages_tool_stream": _UNENDED,
        "messages_vision": "the server has no vision",
        "vision": "the server has no vision",
        "tool_stream": _UNENDED,
        "responses_tool_roundtrip": _UNENDED,
        "openai_responses_tool_loop_stream": _UNENDED,
        "anthropic_tool_loop_stream": _UNENDED,
        "py_llama_index.py anthropic_chat": _NAMES,
        "py_llama_index.py anthropic_stream": _NAMES,
    },
    "vllm": {
        "messages_tool_roundtrip": _RANDOM,
        "messages_tool_stream": _RANDOM,
        "messages_vision": "the model has no vision",
        "responses_tool_roundtrip": _RANDOM,
        "responses_tools": _RANDOM,
        "responses_uses_tool": _RANDOM,
        "openai_responses_tool_loop_stream": _RANDOM,
        "openai_agents_responses": _RANDOM,
        "anthropic_tool_loop_stream": _RANDOM,
        "anthropic_tools": _RANDOM,
        "anthropic_uses_tool": _RANDOM,
        "google_uses_tool": _RANDOM,
        "tool_roundtrip": _RANDOM,
        "tool_stream": _RANDOM,
        "vision": "the model has no vision",
        "py_llama_index.py anthropic_chat": _NAMES,
        "py_llama_index.py anthropic_stream": _NAMES,
        "responses_stream_helper": "the model never ends by itself, and a response that is cut is "
        "incomplete, which the helper takes for none",
    },
}
#: Words in the names of scripts and scenarios that tell the client's format.
WORDS = {"anthropic": ("anthropic", "messages"), "gemini": ("google", "generate")}
OTHER = ("responses", "anthropic", "messages", "google", "generate")


def lack(column, script, scenario):
    """Why the column's server cannot pass this scenario; empty if it can."""
    known = LACKS.get(column.name, {})
    return known.get(scenario) or known.get(f"{script.name} {scenario}", "")


def not_asked(column):
    """The scenarios that are left out in this column, and why."""
    known = LACKS.get(column.name, {})
    return {name: why for name, why in known.items() if " " not in name}


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
