"""LiteLLM as a client: OpenAI's formats, Anthropic's and Google's, through one library."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from scen import (
    ANTHROPIC_BASE_URL,
    ANTHROPIC_MODEL,
    API_KEY,
    ASK_JSON,
    ASK_WEATHER,
    BAD_KEY,
    BASE_URL,
    EMBED_MODEL,
    EXTRA_BODY,
    HELLO,
    MODEL,
    PERSON_SCHEMA,
    RATE_LIMIT_MODEL,
    TOOL,
    UNKNOWN_MODEL,
    main,
    need,
    scenario,
)

litellm.telemetry = False
litellm.suppress_debug_info = True


def ask(messages=HELLO, model=MODEL, key=API_KEY, **more):
    return litellm.completion(
        model=f"openai/{model}", messages=messages, api_base=BASE_URL, api_key=key, num_retries=0,
        max_retries=0, max_tokens=100, extra_body=EXTRA_BODY or None, **more,
    )  # fmt: skip


def ask_claude(messages=HELLO, **more):
    return litellm.completion(
        model=f"anthropic/{ANTHROPIC_MODEL}", messages=messages, api_base=ANTHROPIC_BASE_URL,
        api_key=API_KEY, num_retries=0, max_tokens=100, **more,
    )  # fmt: skip


@scenario
def openai_plain():
    r = ask()
    assert r.choices[0].message.content and r.usage.total_tokens


@scenario
def openai_stream():
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert litellm.stream_chunk_builder(chunks).usage.total_tokens


@scenario
def openai_tools():
    r = ask([{"role": "user", "content": ASK_WEATHER}], tools=[TOOL])
    assert json.loads(r.choices[0].message.tool_calls[0].function.arguments)["city"]


@scenario
def openai_json_schema():
    form = {
        "type": "json_schema",
        "json_schema": {"name": "person", "strict": True, "schema": PERSON_SCHEMA},
    }
    r = ask([{"role": "user", "content": ASK_JSON}], response_format=form)
    assert json.loads(r.choices[0].message.content)["name"]


@scenario
def openai_responses():
    r = litellm.responses(
        model=f"openai/{MODEL}", input="Say hello.", api_base=BASE_URL, api_key=API_KEY,
        max_output_tokens=60,
    )  # fmt: skip
    assert r.output[0].content[0].text


@scenario
def openai_embedding():
    r = litellm.embedding(
        model=f"openai/{need(EMBED_MODEL, 'EMBED_MODEL')}", input=["a cat"], api_base=BASE_URL,
        api_key=API_KEY,
    )  # fmt: skip
    assert len(r.data[0]["embedding"]) > 2


@scenario
def err_bad_key():
    try:
        ask(key=BAD_KEY)
    except litellm.AuthenticationError:
        return
    raise AssertionError("no AuthenticationError")


@scenario
def err_unknown_model():
    try:
        ask(model=UNKNOWN_MODEL)
    except litellm.NotFoundError:
        return
    raise AssertionError("no NotFoundError")


@scenario
def err_rate_limit():
    try:
        ask(model=need(RATE_LIMIT_MODEL, "RATE_LIMIT_MODEL"))
    except litellm.RateLimitError:
        return
    raise AssertionError("no RateLimitError")


@scenario
def anthropic_plain():
    r = ask_claude()
    assert r.choices[0].message.content and r.usage.completion_tokens


@scenario
def anthropic_stream():
    chunks = ask_claude(stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


@scenario
def anthropic_tools():
    r = ask_claude([{"role": "user", "content": ASK_WEATHER}], tools=[TOOL])
    assert json.loads(r.choices[0].message.tool_calls[0].function.arguments)["city"]


if __name__ == "__main__":
    main()
