"""Gemini's format as it passes, and the answers that are read and written."""

import json

import orjson
import pytest

from gateway import errors
from gateway.canonical import (
    Annotated,
    Finished,
    LogProbs,
    Media,
    MediaMade,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gateway.dialects.gemini_generate import gemini_generate
from gateway.dialects.gemini_generate.signatures import SKIPS_VALIDATION, wrapped
from gateway.dialects.gemini_generate.usage import read_usage, write_usage
from gateway.dialects.signatures import GOOGLE, marked, unmarked
from lib.tokens import TokenUsage
from tests.fakes.upstream import frame
from tests.gateway.validators import gemini
from tests.gateway.wire_cases import WIRE

ID = "00000000-0000-0000-0000-000000000000"
CITED = {
    "type": "url_citation",
    "url_citation": {
        "url": "https://example.com/w",
        "title": "example.com",
        "start_index": 0,
        "end_index": 14,
    },
}


def answer(*parts, finish=None, index=0, **more):
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": index}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "responseId": "r", "modelVersion": "m", **more}


def events_of(name):
    return gemini_generate.read_response(json.loads((WIRE / "gemini-generate" / name).read_text()))


def read(*answers):
    reader = gemini_generate.stream_reader()
    return [event for each in answers for event in reader.read(frame(each))]


def written(*events):
    writer = gemini_generate.stream_writer({})
    return b"".join(map(writer.write, events)) + writer.close()


def whole(*events):
    body = gemini_generate.write_response([Started("r", "m"), *events], {})
    return body["candidates"][0]


# As it passes


def test_a_body_is_sent_as_it_is():
    assert gemini_generate.readdress(b'{"a": 1}', {"a": 1}, "m") == b'{"a": 1}'


@pytest.mark.parametrize(
    ("part", "has_output"),
    [({"text": "a"}, True), ({"functionCall": {"name": "f"}}, True), (None, False)],
)
def test_words_and_calls_are_output(part, has_output):
    watch = gemini_generate.watch({})

    watch.see(frame(answer(*([part] if part else []))))

    assert watch.has_output is has_output


@pytest.mark.parametrize("frames", [b"data: [1]\n\n", b"data: {\n\n", b'data: "x"\n\n'])
def test_an_event_that_is_no_answer_is_malformed(frames):
    with pytest.raises(ValueError):
        gemini_generate.watch({}).see(frames)


def test_the_words_of_a_stream_are_kept_for_counting():
    watch = gemini_generate.watch({})
    watch.see(frame(answer({"text": "Hm.", "thought": True}, {"text": " Yes."})))
    watch.see(frame(answer({"functionCall": {"name": "f", "args": {"a": 1}}})))

    assert watch.seen_text() == 'Hm. Yes.f{"a":1}'
    assert watch.output_estimate() == 4


def test_figures_that_leave_out_the_output_do_not_know_it():
    watch = gemini_generate.watch({})
    watch.see(frame(answer({"text": "a"}, usageMetadata={"promptTokenCount": 7})))
    before = (watch.usage, watch.knows_output)
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 2}
    watch.see(frame(answer({"text": "b"}, usageMetadata=usage)))

    assert before == (TokenUsage(7), False)
    assert (watch.usage, watch.knows_output) == (TokenUsage(7, output_tokens=2), True)


def test_an_early_end_is_told_of_every_candidate_that_is_open():
    watch = gemini_generate.watch({})
    watch.see(frame(answer({"text": "a"}, finish="STOP")))
    watch.see(frame(answer({"text": "b"}, index=1)))

    end = orjson.loads(watch.ending("budget_exceeded", TokenUsage(7, output_tokens=2))[6:])

    (candidate,) = end["candidates"]
    assert (candidate["index"], candidate["finishReason"]) == (1, "MAX_TOKENS")
    assert (end["responseId"], end["usageMetadata"]["totalTokenCount"]) == ("r", 9)


def test_what_the_model_reads_is_counted():
    body = {
        "contents": [
            {"parts": [{"text": "Hi"}, {"functionResponse": {"name": "f", "response": {}}}]}
        ],
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "tools": [{"functionDeclarations": [{"name": "g"}]}],
    }

    words = gemini_generate.input_text(body)

    assert all(word in words for word in ("Hi", '"f"', "Be brief.", '"g"'))


def test_an_image_counts_more_than_its_words():
    image = {"inlineData": {"mimeType": "image/png", "data": ""}}

    assert gemini_generate.input_estimate({"contents": [{"parts": [image]}]}) > 200


@pytest.mark.parametrize("names", [("maxOutputTokens", "candidateCount"),
                                   ("max_output_tokens", "candidate_count")])  # fmt: skip
def test_the_bound_is_of_all_candidates(names):
    body = {"contents": [], "generationConfig": dict(zip(names, (100, 2), strict=True))}

    assert gemini_generate.output_bound(body) == 200


@pytest.mark.parametrize(
    "asked",
    [
        {"generationConfig": {"maxOutputTokens": "100", "candidateCount": "2"}},
        {"generationConfig": {"maxOutputTokens": 100, "candidateCount": 1, "candidate_count": 2}},
        {
            "generationConfig": {"maxOutputTokens": 100},
            "generation_config": {"candidateCount": 2},
        },
    ],
)
def test_the_bound_is_of_all_candidates_however_they_are_asked_for(asked):
    assert gemini_generate.output_bound({"contents": [], **asked}) == 200


def test_a_count_that_is_none_asks_for_one_candidate():
    asked = {"contents": [], "generationConfig": {"candidateCount": "many"}}

    assert gemini_generate.answers_asked(asked) == 1


# Usage


@pytest.mark.parametrize(
    "usage",
    [None, {}, [], {"totalTokenCount": 7}, {"candidatesTokenCount": 7}],
)
def test_usage_that_says_nothing_of_the_prompt_is_none(usage):
    assert read_usage(usage) is None


def test_no_part_is_larger_than_its_whole():
    lies = {"promptTokenCount": 5, "cachedContentTokenCount": 9, "candidatesTokenCount": -3,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 9}]}  # fmt: skip

    assert read_usage(lies) == TokenUsage(5, 5)


def test_usage_is_written_as_it_is_read():
    used = TokenUsage(100, 20, 0, 50, 10, audio_input_tokens=30, audio_output_tokens=5)

    assert read_usage(write_usage(used)) == used


# Answers that are read


def test_a_call_carries_its_signature():
    part = {"functionCall": {"id": "x", "name": "f"}, "thoughtSignature": "c2ln"}

    assert ToolCallStarted(0, "x", "f", "c2ln") in read(answer(part))


def test_calls_without_ids_get_ones_that_are_used_once():
    call = {"functionCall": {"name": "f"}}
    first = read(answer(call, call))
    second = read(answer(call, responseId="r2"))

    ids = [each.id for each in [*first, *second] if isinstance(each, ToolCallStarted)]
    assert len(set(ids)) == 3


def test_thoughts_are_signed_as_googles():
    thought, words = {"text": "Hm.", "thought": True}, {"text": "4", "thoughtSignature": "c2ln"}
    events = read(answer(thought), answer(words))

    signed = ThinkingSigned(marked(GOOGLE, "c2ln"))
    assert [ThinkingDelta("Hm."), signed, TextDelta("4")] == events[1:4]
    assert unmarked(GOOGLE, events[2].signature) == "c2ln"
    assert unmarked(GOOGLE, "theirs") == ""


def test_sources_are_told_with_their_places_in_characters():
    (frames,) = [(WIRE / "gemini-generate" / "grounding.sse").read_bytes()]
    events = list(gemini_generate.stream_reader().read(frames))

    assert Annotated(CITED) in events


def test_media_are_told():
    events = read(answer({"inlineData": {"mimeType": "image/png", "data": "aA=="}}))

    assert MediaMade(Media("image", "image/png", "aA==")) in events


def test_log_probabilities_are_told():
    (told,) = [event for event in events_of("logprobs.json") if isinstance(event, LogProbs)]

    assert told.tokens[0]["logprob"] == -0.1
    assert [each["token"] for each in told.tokens[0]["top_logprobs"]] == ["Hi", "Yo"]


def test_candidates_are_told_apart():
    events = read(answer({"text": "a"}, index=1, finish="STOP"))

    assert [TextDelta("a", choice=1), Finished("stop", choice=1)] == events[1:]


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"])
def test_an_answer_that_the_model_spoilt_is_no_answer(reason):
    with pytest.raises(ValueError, match=reason):
        gemini_generate.read_response(answer(finish=reason))


@pytest.mark.parametrize("reason", ["OTHER", "FINISH_REASON_UNSPECIFIED", "OF_TOMORROW"])
def test_a_reason_that_says_nothing_is_a_stop(reason):
    assert read(answer(finish=reason))[-1] == Finished("stop")


# Answers that are written


def test_pieces_of_a_whole_answer_are_joined():
    candidate = whole(ThinkingDelta("H"), ThinkingDelta("m."), TextDelta("a"), RefusalDelta("b"))

    assert candidate["content"]["parts"] == [{"text": "Hm.", "thought": True}, {"text": "ab"}]


def test_calls_are_told_when_they_are_whole_and_in_their_order():
    candidate = whole(
        ToolCallStarted(0, "1", "f", "c2ln"),
        ToolCallStarted(1, "2", "g"),
        ToolCallDelta(0, '{"a"'),
        ToolCallDelta(1, ""),
        ToolCallDelta(0, ":1}"),
        Finished("tool_calls"),
    )

    assert candidate["content"]["parts"] == [
        {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "2", "name": "g", "args": {}}},
    ]
    assert candidate["finishReason"] == "STOP"


@pytest.mark.parametrize("arguments", ['{"city": "Se', "[1]"])
def test_half_a_call_is_no_call(arguments):
    candidate = whole(ToolCallStarted(0, "1", "f"), ToolCallDelta(0, arguments), Finished("length"))

    assert candidate["content"]["parts"] == [{"text": ""}]
    assert candidate["finishReason"] == "MALFORMED_FUNCTION_CALL"


def test_thoughts_of_others_go_with_their_signatures_wrapped():
    candidate = whole(ThinkingDelta("Hm."), ThinkingSigned("theirs"), ThinkingRedacted("x"))

    first, second = candidate["content"]["parts"]
    assert first == {"text": "Hm.", "thought": True, "thoughtSignature": wrapped("theirs")}
    turn = {"role": "model", "parts": [first, second]}
    (message,) = gemini_generate.read_request({"contents": [turn]}).messages
    assert [part.signature or part.redacted for part in message.parts] == ["theirs", "x"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", {"finishReason": "STOP"}),
        ("length", {"finishReason": "MAX_TOKENS"}),
        ("content_filter", {"finishReason": "SAFETY"}),
        ("budget_exceeded", {"finishReason": "MAX_TOKENS", "finishMessage": "budget_exceeded"}),
        ("of_tomorrow", {"finishReason": "OTHER", "finishMessage": "of_tomorrow"}),
    ],
)
def test_reasons_are_written_as_google_names_them(reason, expected):
    candidate = whole(Finished(reason))

    assert {name: candidate[name] for name in candidate if name.startswith("finish")} == expected


def test_sources_are_written_with_their_places_in_bytes():
    candidate = whole(TextDelta("Zürich is wet."), Annotated(CITED))

    grounding = candidate["groundingMetadata"]
    assert grounding["groundingChunks"][0]["web"]["uri"] == "https://example.com/w"
    assert grounding["groundingSupports"][0]["segment"] == {"startIndex": 0, "endIndex": 15}


def test_log_probabilities_and_media_are_written():
    token = {"token": "Hi", "logprob": -0.5, "top_logprobs": [{"token": "Yo", "logprob": -1}]}
    candidate = whole(
        TextDelta("Hi"), LogProbs([token]), MediaMade(Media("image", "image/png", "aA=="))
    )

    assert candidate["logprobsResult"] == {
        "chosenCandidates": [{"token": "Hi", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "Yo", "logProbability": -1}]}],
    }
    assert {"inlineData": {"mimeType": "image/png", "data": "aA=="}} in candidate["content"][
        "parts"
    ]


def test_the_end_of_a_stream_holds_the_reason_and_the_usage():
    stream = written(
        Started("r", "m"), TextDelta("Hi"), Finished("stop"),
        UsageReported(TokenUsage(7, output_tokens=2)),
    )  # fmt: skip

    told = gemini.check(stream)
    assert (told.text, told.finish, told.usage) == (
        "Hi",
        "stop",
        {"input_tokens": 7, "output_tokens": 2},
    )


def test_a_stream_of_an_upstream_that_does_not_say_who_it_is_has_an_id():
    assert gemini.check(written(TextDelta("Hi"), Finished("stop"))).complete


# Errors


def test_an_error_has_googles_status_and_details():
    error = errors.BadRequest("No.", param="contents", retry_after=1.5)

    told = json.loads(gemini_generate.write_error(error, ID))["error"]

    assert (told["code"], told["status"]) == (400, "INVALID_ARGUMENT")
    assert told["message"] == f"No. (request id: {ID})"
    assert [each["@type"].rpartition(".")[2] for each in told["details"]] == [
        "ErrorInfo",
        "BadRequest",
        "RetryInfo",
    ]
    assert told["details"][2]["retryDelay"] == "1.5s"


def test_an_error_in_a_stream_begins_as_googles_client_knows_it():
    frames = gemini_generate.error_frame(errors.InternalError("No."), ID)

    assert frames.startswith(b'data: {"error":')


def test_what_makes_models_skip_validation_is_what_google_documents():
    assert SKIPS_VALIDATION == "skip_thought_signature_validator"
