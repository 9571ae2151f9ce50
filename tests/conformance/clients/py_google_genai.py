"""google-genai, Google's own SDK, against Gemini's endpoints."""

import functools

from google import genai
from google.genai import errors, types
from scen import (
    API_KEY,
    ASK_JSON,
    ASK_WEATHER,
    BAD_KEY,
    EMBED_MODEL,
    GEMINI_BASE_URL,
    GEMINI_MODEL,
    PERSON_SCHEMA,
    UNKNOWN_MODEL,
    eq,
    main,
    need,
    png_data_url,
    scenario,
)


@functools.cache  # one that nobody holds on to is closed in the middle of a request
def client(key=API_KEY, version=None):
    told = types.HttpOptions(base_url=need(GEMINI_BASE_URL, "GEMINI_BASE_URL"), api_version=version)
    return genai.Client(api_key=key, http_options=told)


def ask(contents="Say hello.", model=GEMINI_MODEL, c=None, **config):
    config = types.GenerateContentConfig(max_output_tokens=80, **config)
    return (c or client()).models.generate_content(model=model, contents=contents, config=config)


def stream(contents="Say hello.", **config):
    config = types.GenerateContentConfig(max_output_tokens=80, **config)
    return client().models.generate_content_stream(
        model=GEMINI_MODEL, contents=contents, config=config
    )


WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather",
            description="Current weather of a city",
            parameters_json_schema={
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
                "required": ["city"],
            },
        )
    ]
)
NO_AUTO = types.AutomaticFunctionCallingConfig(disable=True)


@scenario
def generate_plain():
    r = ask()
    assert r.text and r.candidates[0].finish_reason in ("STOP", "MAX_TOKENS")
    assert r.usage_metadata.candidates_token_count > 0


@scenario
def generate_both_versions():
    for version in ("v1", "v1beta"):
        assert ask(c=client(version=version)).text


@scenario
def generate_stream():
    chunks = list(stream())
    assert "".join(c.text or "" for c in chunks)
    assert chunks[-1].candidates[0].finish_reason in ("STOP", "MAX_TOKENS")
    assert chunks[-1].usage_metadata.candidates_token_count > 0


@scenario
def system_and_turns():
    turns = [
        types.Content(role="user", parts=[types.Part(text="One?")]),
        types.Content(role="model", parts=[types.Part(text="One.")]),
        types.Content(role="user", parts=[types.Part(text="Two?")]),
    ]
    assert ask(turns, system_instruction="Be brief.", temperature=0.5, top_p=0.9).text


@scenario
def tool_roundtrip():
    r = ask(ASK_WEATHER, tools=[WEATHER], automatic_function_calling=NO_AUTO)
    call = r.function_calls[0]
    eq(call.name, "get_weather", "name")
    assert call.args["city"]
    answered = types.Part.from_function_response(name=call.name, response={"result": "21C, sunny"})
    answered.function_response.id = call.id
    turns = [
        types.Content(role="user", parts=[types.Part(text=ASK_WEATHER)]),
        r.candidates[0].content,
        types.Content(role="user", parts=[answered]),
    ]
    assert ask(turns, tools=[WEATHER], automatic_function_calling=NO_AUTO).text


@scenario
def tool_stream():
    chunks = stream(ASK_WEATHER, tools=[WEATHER], automatic_function_calling=NO_AUTO)
    calls = [call for chunk in chunks for call in chunk.function_calls or []]
    eq(calls[0].name, "get_weather", "name")
    assert calls[0].args["city"]


@scenario
def json_schema():
    r = ask(ASK_JSON, response_mime_type="application/json", response_json_schema=PERSON_SCHEMA)
    assert r.parsed["name"]


@scenario
def vision():
    import base64

    data = base64.b64decode(png_data_url().split(",", 1)[1])
    assert ask([types.Part.from_bytes(data=data, mime_type="image/png"), "Which color?"]).text


@scenario
def count_tokens():
    assert client().models.count_tokens(model=GEMINI_MODEL, contents="Say hello.").total_tokens > 0


@scenario
def embed():
    r = client().models.embed_content(model=need(EMBED_MODEL, "EMBED_MODEL"), contents="a cat")
    assert len(r.embeddings[0].values) > 2


@scenario
def models_list():
    assert any(m.name.endswith(GEMINI_MODEL) for m in client().models.list())


@scenario
def err_bad_key():
    try:
        ask(c=client(BAD_KEY))
    except errors.ClientError as e:
        eq(e.code, 401, "code")
        assert e.message
        return
    raise AssertionError("no ClientError")


@scenario
def err_unknown_model():
    try:
        ask(model=UNKNOWN_MODEL)
    except errors.ClientError as e:
        eq((e.code, e.status), (404, "NOT_FOUND"), "code, status")
        return
    raise AssertionError("no ClientError")


if __name__ == "__main__":
    main()
