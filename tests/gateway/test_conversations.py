"""A conversation goes on: with the vendor that answered, and with another one.

Each vendor answers with signed thoughts and two calls at once. The client puts that answer into
its next request as its SDK does, with the results.
"""

import orjson
import pytest

from gateway import interpreter
from gateway.dialects.anthropic_messages import anthropic_messages
from gateway.dialects.bedrock_converse import BedrockConverse
from gateway.dialects.gemini_generate import gemini_generate
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_responses import openai_responses
from gateway.question import Question
from registry.capabilities import Capabilities
from tests.gateway.targets import make_target

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CITIES = ("Oslo", "Rom")
RESULTS = ("4 °C", "21 °C")
#: Base64, as vendors' signatures are.
SIGNATURE = "c2lnbmVkK2J5L3RoZW0="

ANTHROPIC = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "Look it up.", "signature": SIGNATURE},
        {"type": "text", "text": "I look."},
        *({"type": "tool_use", "id": f"toolu_{n}", "name": "weather", "input": {"city": city}}
          for n, city in enumerate(CITIES)),
    ],
    "stop_reason": "tool_use", "usage": {"input_tokens": 9, "output_tokens": 5},
}  # fmt: skip
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "Look it up.", "signature": SIGNATURE}}},
        {"text": "I look."},
        *({"toolUse": {"toolUseId": f"tooluse_{n}", "name": "weather", "input": {"city": city}}}
          for n, city in enumerate(CITIES)),
    ]}},
    "stopReason": "tool_use", "usage": {"inputTokens": 9, "outputTokens": 5},
}  # fmt: skip
GOOGLE = {
    "responseId": "r1", "modelVersion": "gemini-3-pro",
    "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
        {"text": "Look it up.", "thought": True},
        {"text": "I look."},
        {"functionCall": {"name": "weather", "args": {"city": CITIES[0]}},
         "thoughtSignature": SIGNATURE},
        {"functionCall": {"name": "weather", "args": {"city": CITIES[1]}}},
    ]}}],
    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14},
}  # fmt: skip
OPENAI = {
    "id": "resp_1", "object": "response", "status": "completed", "model": "gpt-5",
    "output": [
        {"type": "reasoning", "id": "rs_1", "encrypted_content": SIGNATURE,
         "summary": [{"type": "summary_text", "text": "Look it up."}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
        *({"type": "function_call", "id": f"fc_{n}", "call_id": f"call_{n}", "name": "weather",
           "arguments": orjson.dumps({"city": city}).decode(), "status": "completed"}
          for n, city in enumerate(CITIES)),
    ],
    "usage": {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14},
}  # fmt: skip
DEEPSEEK = {
    "id": "1", "object": "chat.completion", "model": "deepseek-reasoner",
    "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": "I look.", "reasoning_content": "Look it up.",
        "tool_calls": [
            {"id": f"call_{n}", "type": "function", "function": {
                "name": "weather", "arguments": orjson.dumps({"city": city}).decode()}}
            for n, city in enumerate(CITIES)
        ],
    }}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
}  # fmt: skip

#: What each vendor is, the answer that it gave, and who else takes its signatures.
VENDORS = {
    "anthropic": (make_target(kind="anthropic", upstream_model="claude-sonnet-4-5"), ANTHROPIC),
    "bedrock": (
        make_target(kind="bedrock", upstream_model="eu.anthropic.claude-sonnet-4-5-v1:0"),
        CONVERSE,
    ),
    "gemini": (make_target(kind="gemini", upstream_model="gemini-3-pro"), GOOGLE),
    "openai": (
        make_target(
            kind="openai", upstream_model="gpt-5-codex", capabilities=Capabilities(reasoning=True)
        ),
        OPENAI,
    ),
    "deepseek": (make_target(upstream_model="deepseek-reasoner"), DEEPSEEK),
}
#: Claude's signatures are the same wherever it is served.
SAME_MAKER = (("anthropic", "bedrock"), ("bedrock", "anthropic"))
SPEAKS = {
    "anthropic": anthropic_messages,
    "bedrock": BedrockConverse(),
    "gemini": gemini_generate,
    "openai": openai_responses,
    "deepseek": openai_chat,
}


# What clients send


def chat_request(answer=None):
    messages = [{"role": "user", "content": "Oslo and Rome?"}]
    if answer:
        said = answer["choices"][0]["message"]
        results = zip(said["tool_calls"], RESULTS, strict=True)
        messages += [
            said,
            *({"role": "tool", "tool_call_id": c["id"], "content": r} for c, r in results),
        ]
    function = {"name": "weather", "parameters": SCHEMA}
    return {
        "model": "tiny", "messages": messages, "reasoning_effort": "high",
        "tools": [{"type": "function", "function": function}],
    }  # fmt: skip


def responses_request(answer=None):
    given = [{"role": "user", "content": "Oslo and Rome?"}]
    if answer:
        calls = [item for item in answer["output"] if item["type"] == "function_call"]
        given += answer["output"]
        given += [
            {"type": "function_call_output", "call_id": call["call_id"], "output": result}
            for call, result in zip(calls, RESULTS, strict=True)
        ]
    return {
        "model": "tiny", "input": given, "store": False, "reasoning": {"effort": "high"},
        "include": ["reasoning.encrypted_content"],
        "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA}],
    }  # fmt: skip


def messages_request(answer=None):
    messages = [{"role": "user", "content": "Oslo and Rome?"}]
    if answer:
        calls = [block for block in answer["content"] if block["type"] == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": result}
            for call, result in zip(calls, RESULTS, strict=True)
        ]
        messages += [
            {"role": "assistant", "content": answer["content"]},
            {"role": "user", "content": results},
        ]
    return {
        "model": "tiny", "max_tokens": 9000, "messages": messages,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tools": [{"name": "weather", "input_schema": SCHEMA}],
    }  # fmt: skip


def gemini_request(answer=None):
    contents = [{"role": "user", "parts": [{"text": "Oslo and Rome?"}]}]
    if answer:
        content = answer["candidates"][0]["content"]
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        results = [
            {"functionResponse": {name: call[name] for name in ("id", "name") if name in call}
                                 | {"response": {"output": result}}}
            for call, result in zip(calls, RESULTS, strict=True)
        ]  # fmt: skip
        contents += [content, {"role": "user", "parts": results}]
    return {
        "model": "tiny", "contents": contents,
        "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
        "tools": [{"functionDeclarations": [
            {"name": "weather", "parametersJsonSchema": SCHEMA}]}],
    }  # fmt: skip


CLIENTS = {
    openai_chat: chat_request,
    openai_responses: responses_request,
    anthropic_messages: messages_request,
    gemini_generate: gemini_request,
}


# What vendors are asked


def question(client, body):
    return Question(client, "tiny", orjson.dumps(body), body)


def asked_next(client, first, then):
    """The second request, as it is sent to the vendor `then` after `first` has answered."""
    write = CLIENTS[client]
    target, answer = VENDORS[first]
    before = interpreter.interpreter(question(client, write()), target)
    told = orjson.loads(before.content_for(orjson.dumps(answer), answer))
    again = interpreter.interpreter(question(client, write(told)), VENDORS[then][0])
    return orjson.loads(again.message().body), again


def ids_in_order(vendor, body):
    """Ids of the calls, and of the results behind them, as the vendor reads them."""
    calls, results = [], []
    for each in _pieces(vendor, body):
        match each:
            case {"type": "tool_use", "id": told} | {"toolUse": {"toolUseId": told}}:
                calls.append(told)
            case {"functionCall": call}:
                calls.append(call.get("id") or call["name"])
            case {"type": "function_call", "call_id": told}:
                calls.append(told)
            case {"tool_calls": list(given)}:
                calls += [call["id"] for call in given]
            case (
                {"tool_use_id": told}
                | {"toolResult": {"toolUseId": told}}
                | {"type": "function_call_output", "call_id": told}
                | {"tool_call_id": told}
            ):
                results.append(told)
            case {"functionResponse": result}:
                results.append(result.get("id") or result["name"])
    return calls, results


def _pieces(vendor, body):
    if vendor == "openai":
        return body["input"]
    if vendor == "gemini":
        return [part for content in body["contents"] for part in content["parts"]]
    if vendor == "deepseek":
        return body["messages"]
    contents = [message["content"] for message in body["messages"]]
    return [block for content in contents if isinstance(content, list) for block in content]


def pairs(vendors):
    return pytest.mark.parametrize(
        ("client", "first", "then"),
        [
            pytest.param(client, first, then, id=f"{client.name}: {first}, {then}")
            for client in CLIENTS
            for first, then in vendors
        ],
    )


STAYS = [(name, name) for name in VENDORS]
CHANGES = [
    (first, then)
    for first in VENDORS
    for then in VENDORS
    if first != then and (first, then) not in SAME_MAKER
]
KEEPS = [("anthropic", "anthropic"), ("bedrock", "bedrock"), *SAME_MAKER]


@pairs([(first, then) for first in VENDORS for then in VENDORS])
def test_results_answer_the_calls_whoever_made_them(client, first, then):
    body, _ = asked_next(client, first, then)

    calls, results = ids_in_order(then, body)

    assert len(calls) == 2
    assert results == calls
    assert "__sig__" not in orjson.dumps(body).decode()


@pairs([*((name, name) for name in ("gemini", "openai")), *KEEPS])
def test_a_signature_comes_back_to_its_maker(client, first, then):
    body, _ = asked_next(client, first, then)

    assert SIGNATURE in orjson.dumps(body).decode()


@pairs([(first, then) for first, then in CHANGES if first != "deepseek"])
def test_a_signature_goes_to_no_other_vendor(client, first, then):
    body, _ = asked_next(client, first, then)

    sent = orjson.dumps(body).decode()
    assert SIGNATURE not in sent
    assert "courier." not in sent


@pairs([(first, then) for first, then in CHANGES if then in ("anthropic", "bedrock")])
def test_claude_is_shown_no_thoughts_that_it_did_not_sign(client, first, then):
    body, _ = asked_next(client, first, then)

    assert not [
        block
        for block in _pieces(then, body)
        if block.get("type") == "thinking" or "reasoningContent" in block
    ]


@pairs([(first, "openai") for first in VENDORS if first != "openai"])
def test_openai_is_shown_no_reasoning_that_it_does_not_keep(client, first, then):
    body, _ = asked_next(client, first, then)

    assert [item for item in body["input"] if item.get("type") == "reasoning"] == []


@pairs([(first, "gemini") for first in VENDORS])
def test_google_is_given_a_signature_with_the_first_call_of_a_turn(client, first, then):
    body, _ = asked_next(client, first, then)

    calls = [part for part in _pieces(then, body) if "functionCall" in part]
    assert calls[0].get("thoughtSignature")
    assert first == "gemini" or "thoughtSignature" not in calls[1]


@pairs([*STAYS, *CHANGES, *SAME_MAKER])
def test_nothing_is_left_out_but_that_claude_cannot_think_on_without_its_thoughts(
    client, first, then
):
    _, again = asked_next(client, first, then)

    named = {client.field_names.get("reasoning_effort", "reasoning_effort")}
    is_claude = then in ("anthropic", "bedrock")
    assert set(again.drops.names) <= (named if is_claude and (first, then) in CHANGES else set())


def test_thoughts_between_words_stay_where_their_maker_put_them():
    output = [
        *({"type": "reasoning", "id": f"rs_{n}", "summary": [],
           "encrypted_content": f"courier.anthropic.{SIGNATURE}{n}"} for n in range(2)),
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
    ]  # fmt: skip
    said = {"type": "message", "role": "assistant", "content": "I look."}
    asked = responses_request()
    asked["input"] += [output[0], said, *output[1:]]
    asked["input"] += [{"type": "function_call_output", "call_id": "call_1", "output": "4 °C"}]

    target = VENDORS["anthropic"][0]
    message = interpreter.interpreter(question(openai_responses, asked), target).message()

    kinds = [block["type"] for block in orjson.loads(message.body)["messages"][1]["content"]]
    assert kinds == ["thinking", "text", "thinking", "tool_use"]


@pairs([(first, "anthropic") for first in ("gemini", "openai", "deepseek")])
def test_claude_is_not_asked_to_think_on_without_its_thoughts(client, first, then):
    body, again = asked_next(client, first, then)

    assert body.get("thinking", {"type": "disabled"})["type"] == "disabled"
    assert len(again.drops.names) == 1
