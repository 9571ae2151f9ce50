"""What clients of Gemini's ask, read into the hub."""

import base64

import pytest

from gateway.canonical import (
    Media,
    Message,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.gemini_generate import gemini_generate
from gateway.dialects.gemini_generate.signatures import wrapped, wrapped_redacted
from gateway.errors import BadRequest

HELLO = [{"role": "user", "parts": [{"text": "Hi"}]}]
GOOGLES = base64.b64encode(b"\x0a\x94\x01 only Google can read").decode()


def read(**body):
    return gemini_generate.read_request({"contents": HELLO, **body})


def parts(*given, role="user"):
    (message,) = read(contents=[{"role": role, "parts": list(given)}]).messages
    return message.parts


def configured(**config):
    return read(generationConfig=config)


def test_turns_are_the_users_and_the_models():
    turns = [*HELLO, {"role": "model", "parts": [{"text": "Yes?"}]}, {"parts": [{"text": "No."}]}]

    assert read(contents=turns).messages == [
        Message("user", [Text("Hi")]),
        Message("assistant", [Text("Yes?")]),
        Message("user", [Text("No.")]),
    ]


def test_the_pieces_of_a_stream_that_a_client_keeps_are_one_turn_again():
    pieces = [
        {"text": "Hm", "thought": True},
        {"text": ".", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": wrapped("sig")},
        {"text": "One"},
        {"text": " two"},
        {"text": ""},
    ]
    turns = [{"role": "model", "parts": [piece]} for piece in pieces]

    (message,) = read(contents=turns).messages

    assert message.parts == [Thinking("Hm.", "sig"), Text("One two")]


@pytest.mark.parametrize("name", ["systemInstruction", "system_instruction"])
@pytest.mark.parametrize("given", [{"parts": [{"text": "Be brief."}]}, "Be brief."])
def test_an_instruction_is_the_first_message(name, given):
    assert read(**{name: given}).messages[0] == Message("system", [Text("Be brief.")])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"inlineData": {"mimeType": "image/png", "data": "aGk_"}},
         Media("image", "image/png", "aGk/")),
        ({"inline_data": {"mime_type": "audio/wav", "data": "aGk="}},
         Media("audio", "audio/wav", "aGk=")),
        ({"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.test/a.pdf"}},
         Media("document", "application/pdf", url="https://x.test/a.pdf")),
        ({"executableCode": {"language": "PYTHON", "code": "1 + 1"}},
         Text("```python\n1 + 1\n```\n")),
    ],
)  # fmt: skip
def test_parts_are_read_by_either_spelling(given, expected):
    assert parts(given) == [expected]


def test_calls_without_ids_get_some_and_results_find_them_by_name_and_order():
    calls = [{"functionCall": {"name": name, "args": {"n": n}}}
             for n, name in enumerate(["look", "look", "ask"])]  # fmt: skip
    results = [
        {"functionResponse": {"name": name, "response": {"output": output}}}
        for name, output in [("ask", "c"), ("look", "a"), ("look", "b")]
    ]
    turns = [{"role": "model", "parts": calls}, {"role": "user", "parts": results}]

    asked, answered = read(contents=turns).messages

    assert [call.id for call in asked.parts] == ["call_1", "call_2", "call_3"]
    assert [call.arguments for call in asked.parts] == ['{"n":0}', '{"n":1}', '{"n":2}']
    told = [(result.call_id, result.parts[0].text) for result in answered.parts]
    assert told == [("call_3", "c"), ("call_1", "a"), ("call_2", "b")]


def test_a_result_finds_its_call_by_its_id():
    call = {"functionCall": {"id": "x", "name": "look", "args": {}}}
    other = {"functionCall": {"id": "y", "name": "look", "args": {}}}
    result = {"functionResponse": {"id": "y", "name": "look", "response": {"a": 1}}}
    turns = [{"role": "model", "parts": [call, other]}, {"role": "user", "parts": [result]}]

    assert read(contents=turns).messages[1].parts == [ToolResult("y", [Text('{"a":1}')])]


def test_a_call_keeps_its_signature_whether_in_its_field_or_in_its_id():
    own = parts({"functionCall": {"id": "x", "name": "f"}, "thoughtSignature": "c2ln"})
    carried = parts({"functionCall": {"id": "x__sig__c2ln", "name": "f"}})

    assert own == carried == [ToolCall("x", "f", "{}", "c2ln")]


def test_a_failed_result_says_so():
    (result,) = parts({"functionResponse": {"name": "f", "response": {"error": "No."}}})

    assert (result.failed, result.parts) == (True, [Text("No.")])


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (wrapped("theirs"), Thinking("Hm.", "theirs")),
        (wrapped("theirs").replace("+", "-").replace("/", "_"), Thinking("Hm.", "theirs")),
        (wrapped_redacted("hidden"), Thinking("", redacted="hidden")),
        (GOOGLES, Thinking("Hm.")),
        ("no base64!", Thinking("Hm.")),
        (None, Thinking("Hm.")),
    ],
)
def test_a_thought_comes_back_with_the_signature_of_its_maker_only(signature, expected):
    assert parts({"text": "Hm.", "thought": True, "thoughtSignature": signature}) == [expected]


def test_the_configuration_is_read():
    request = configured(
        temperature=0.5, topP=0.9, top_k=40, maxOutputTokens=100, stopSequences=["END"],
        candidateCount=2, seed=7, presencePenalty=0.1, frequency_penalty=0.2,
        responseLogprobs=True, logprobs=3,
    )  # fmt: skip

    assert (request.temperature, request.top_p, request.top_k) == (0.5, 0.9, 40)
    assert (request.max_tokens, request.stop, request.n, request.seed) == (100, ["END"], 2, 7)
    assert (request.presence_penalty, request.frequency_penalty) == (0.1, 0.2)
    assert (request.logprobs, request.top_logprobs) == (True, 3)
    assert request.unknown == []


@pytest.mark.parametrize("config", [{"temperature": "hot"}, {"topP": True}, {"seed": [1]}])
def test_a_setting_that_is_no_number_is_refused_by_its_name(config):
    with pytest.raises(BadRequest) as refused:
        configured(**config)

    assert refused.value.param == f"generationConfig.{next(iter(config))}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"thinkingBudget": 1024, "includeThoughts": True}, Reasoning(budget_tokens=1024)),
        ({"thinkingBudget": 0}, Reasoning(enabled=False, shown=False)),
        ({"thinkingBudget": -1}, Reasoning(shown=False)),
        ({"thinkingLevel": "HIGH"}, Reasoning(effort="high", shown=False)),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, Reasoning(shown=False)),
        ({}, None),
    ],
)
def test_how_much_to_think_is_read(given, expected):
    assert configured(thinkingConfig=given).reasoning == expected


def test_googles_schema_becomes_json_schema():
    given = {
        "type": "OBJECT",
        "properties": {
            "name": {"type": "STRING", "nullable": True, "minLength": "1", "example": "Ann"},
            "type": {"type": "ARRAY", "items": {"type": "INTEGER"}, "max_items": 3},
        },
        "propertyOrdering": ["name", "type"],
    }
    request = configured(responseMimeType="application/json", responseSchema=given)

    assert request.response_format == ResponseFormat(
        "json_schema",
        schema={
            "type": "object",
            "properties": {
                "name": {"type": ["string", "null"], "minLength": 1, "examples": ["Ann"]},
                "type": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
            },
        },
    )


def test_json_schema_stays_what_it_is():
    schema = {"type": "object", "additionalProperties": False, "properties": {"a_b": {}}}
    request = configured(responseMimeType="application/json", responseJsonSchema=schema)

    assert request.response_format.schema == schema


def test_json_may_be_asked_for_without_a_schema():
    request = configured(responseMimeType="application/json")

    assert request.response_format == ResponseFormat("json_object")


def test_tools_are_read_with_either_kind_of_schema():
    old = {"name": "old", "description": "d", "parameters": {"type": "OBJECT"}}
    new = {"name": "new", "parametersJsonSchema": {"type": "object"}}

    assert read(tools=[{"functionDeclarations": [old, new]}]).tools == [
        Tool("old", "d", {"type": "object"}),
        Tool("new", "", {"type": "object"}),
    ]


@pytest.mark.parametrize(
    ("config", "choice"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto")),
        ({"mode": "NONE"}, ToolChoice("none")),
        ({"mode": "any"}, ToolChoice("required")),
        ({"mode": "VALIDATED"}, ToolChoice("auto")),
        ({"mode": "ANY", "allowedFunctionNames": ["a"]}, ToolChoice("named", "a")),
        ({"mode": "MODE_UNSPECIFIED"}, None),
    ],
)
def test_how_tools_are_chosen_is_read(config, choice):
    assert read(toolConfig={"functionCallingConfig": config}).tool_choice == choice


def test_of_several_allowed_tools_only_those_are_offered():
    declared = [{"name": name} for name in "abc"]
    config = {"mode": "ANY", "allowedFunctionNames": ["a", "c"]}
    request = read(
        tools=[{"functionDeclarations": declared}], toolConfig={"functionCallingConfig": config}
    )

    assert [tool.name for tool in request.tools] == ["a", "c"]


@pytest.mark.parametrize(
    ("body", "unknown"),
    [
        ({"safetySettings": [{"category": "X"}]}, ["safetySettings"]),
        ({"cached_content": "cachedContents/1"}, ["cached_content"]),
        ({"labels": {"a": "b"}}, ["labels"]),
        ({"tools": [{"googleSearch": {"x": 1}}]}, ["tools.googleSearch"]),
        ({"tools": [{"googleSearch": {}}]}, ["tools.googleSearch"]),
        ({"tools": [{"codeExecution": {}, "url_context": {}}]},
         ["tools.codeExecution", "tools.url_context"]),
        ({"generationConfig": {"speechConfig": {"a": 1}}}, ["generationConfig.speechConfig"]),
        ({"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}},
         ["generationConfig.responseModalities"]),
        ({"generationConfig": {"responseModalities": ["TEXT"], "responseMimeType": "text/plain"}},
         []),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}},
         ["generationConfig.responseMimeType"]),
        ({"contents": [{"parts": [{"text": "a", "videoMetadata": {"fps": 1}}]}]},
         ["parts.videoMetadata"]),
        ({"safetySettings": [], "labels": None}, []),
    ],
)  # fmt: skip
def test_what_only_google_has_is_named_as_the_client_wrote_it(body, unknown):
    assert read(**body).unknown == unknown


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"contents": "Hi"}, "contents"),
        ({"contents": [5]}, "contents"),
        ({"tools": [5]}, "tools"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(body, param):
    with pytest.raises(BadRequest) as refused:
        read(**body)

    assert refused.value.param == param
