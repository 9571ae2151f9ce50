"""Between a client's format and a target's, with two made-up formats and a real one."""

import orjson
import pytest

from gateway import canonical, errors, interpreter
from gateway.canonical import (
    ChatRequest,
    Ended,
    Failed,
    Finished,
    Message,
    Started,
    Text,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from gateway.dialects.base import (
    ClientHalf,
    StreamReader,
    StreamWriter,
    UpstreamHalf,
)
from gateway.dialects.openai_chat import openai_chat
from gateway.interpreter import Translated, TranslatingWatch, Verbatim
from gateway.providers.base import Provider
from gateway.question import Question
from lib.tokens import TokenUsage
from tests.gateway.targets import make_target


class Writer(StreamWriter):
    """Writes the names of events."""

    def write(self, event):
        return type(event).__name__.encode() + b" "

    def close(self):
        return b"closed"

    def error_frame(self, error, request_id):
        return f"{error.code} {request_id}".encode()


class Reader(StreamReader):
    """Gives the events that it is made with, one for each frame."""

    def __init__(self, *events, at_close=()):
        self.events = list(events)
        self.at_close = at_close

    def read(self, frames):
        return [self.events.pop(0) for _ in frames]

    def close(self):
        return self.at_close


class Asked(ClientHalf[ChatRequest]):
    name = "asked"
    task = operation = "chat"

    def write_error(self, error, request_id):
        return b""

    def error_frame(self, error, request_id):
        return b""

    def input_text(self, body):
        return body["say"]

    def input_estimate(self, body):
        return 1

    def output_bound(self, body):
        return 0

    def read_request(self, body):
        unknown = [name for name in body if name not in {"model", "say"}]
        return ChatRequest([Message("user", [Text(body["say"])])], unknown=unknown)

    def write_response(self, events, request):
        return {"said": "".join(map(interpreter.words_of, events))}

    def stream_writer(self, request):
        return Writer()


class Spoken(UpstreamHalf[ChatRequest]):
    name = "spoken"
    task = "chat"

    def is_answer(self, body):
        return "words" in body

    def write_request(self, request, to, drops):
        return {"to": to.upstream_model, "words": request.messages[0].parts[0].text}

    def read_response(self, body):
        return [
            Started("1", "m"),
            TextDelta(body["words"]),
            UsageReported(TokenUsage(1, output_tokens=1)),
            UsageReported(TokenUsage(5, output_tokens=7)),
            Ended(),
        ]

    def stream_reader(self):
        return Reader()


ASKED, SPOKEN = Asked(), Spoken()


class Speaker(Provider):
    paths = {SPOKEN: "/say"}


class Loud(Speaker):
    @staticmethod
    def shout(body, drops):
        body["words"] = body["words"].upper()
        drops.note("calm")

    quirks = (shout,)


@pytest.fixture
def between(monkeypatch):
    """How a question is put to a provider of a class."""

    def make(provider, *, dialect=ASKED, refuses=False, **body):
        monkeypatch.setattr(interpreter, "provider_of", lambda kind: provider())
        body = {"model": "tiny", "say": "hello", **body}
        question = Question(dialect, "tiny", orjson.dumps(body), body)
        return interpreter.interpreter(question, make_target(refuses_unsupported=refuses))

    return make


def watched(*events, at_close=()):
    """A watch that has seen all these events but those at the close, and what it wrote."""
    watch = TranslatingWatch(Reader(*events, at_close=at_close), Writer(), "alpha-tiny")
    return watch, watch.see(b"." * len(events))


def test_formats_that_differ_are_translated(between):
    made = between(Speaker)

    assert isinstance(made, Translated)
    assert orjson.loads(made.message().body) == {"to": "model-1", "words": "hello"}


def test_a_format_that_both_speak_is_passed_on_as_it_is(between):
    class Chatty(Provider):
        paths = {openai_chat: "/chat/completions"}

    made = between(Chatty, dialect=openai_chat)

    assert isinstance(made, Verbatim)
    assert made.message().body == b'{"model":"model-1","say":"hello"}'


def test_a_quirk_changes_the_body_and_says_what_it_took_out(between):
    made = between(Loud)

    assert orjson.loads(made.message().body)["words"] == "HELLO"
    assert made.drops.names == ["calm"]


def test_a_quirk_applies_to_what_passes_through_too(between):
    def without_seed(body, drops):
        del body["seed"]
        drops.note("seed")

    class Quirky(Provider):
        paths = {openai_chat: "/chat/completions"}
        quirks = (without_seed,)

    made = between(Quirky, dialect=openai_chat, seed=1)

    assert orjson.loads(made.message().body) == {"model": "model-1", "say": "hello"}
    assert made.drops.names == ["seed"]


def test_what_has_no_place_is_named_once(between):
    made = between(Speaker, odd=1, strange=2)
    made.message()
    made.message()

    assert made.drops.names == ["odd", "strange"]


def test_what_has_no_place_is_refused_where_the_model_says_so(between):
    with pytest.raises(errors.UnsupportedParameter, match="'odd'") as refused:
        between(Speaker, refuses=True, odd=1).message()

    assert refused.value.param == "odd"


def test_a_hint_is_left_out_and_named_even_where_parameters_are_refused(between):
    made = between(Speaker, refuses=True, cache_control={"type": "ephemeral"})

    assert "cache_control" not in orjson.loads(made.message().body)
    assert made.drops.names == ["cache_control"]


def test_a_whole_answer_comes_back_in_the_clients_words(between):
    made = between(Speaker)

    assert made.content_for(b"", {"words": "hi"}) == b'{"said":"hi"}'
    assert made.text_in({"words": "hi"}) == "hi"


def test_of_several_reports_of_usage_the_last_counts(between):
    assert between(Speaker).usage_in({"words": "hi"}) == TokenUsage(5, output_tokens=7)


def test_a_provider_without_the_task_is_no_target(between):
    class Silent(Provider):
        paths = {}

    with pytest.raises(errors.NoAvailableTarget):
        between(Silent)


def test_a_beginning_is_no_output():
    watch, _ = watched(Started("1", "m"), UsageReported(TokenUsage(5)))

    assert not watch.has_output


@pytest.mark.parametrize("event", [TextDelta("a"), ToolCallDelta(0, "{"), Finished("stop")])
def test_words_calls_and_a_reason_to_stop_are_output(event):
    watch, _ = watched(event)

    assert watch.has_output


def test_the_end_is_written_once_and_nothing_after_it():
    watch, written = watched(TextDelta("a"), Ended(), TextDelta("b"))

    assert written == b"TextDelta closed"
    assert watch.is_complete


def test_a_failure_is_kept_in_the_upstreams_words_and_not_written():
    watch, written = watched(TextDelta("a"), Failed({"message": "Overloaded."}))

    assert written == b"TextDelta "
    assert watch.failure == {"message": "Overloaded."}
    assert not watch.is_complete


def test_a_stream_that_just_ends_is_complete_if_its_format_says_so():
    watch, _ = watched(TextDelta("a"), at_close=[Ended()])

    assert watch.close() == b"closed"
    assert watch.is_complete


def test_a_stream_that_just_ends_is_else_not_complete():
    watch, _ = watched(TextDelta("a"))

    assert watch.close() == b""
    assert not watch.is_complete


def test_words_are_kept_for_counting_and_those_beyond_the_bound_by_their_length(monkeypatch):
    monkeypatch.setattr("gateway.dialects.seen_words.MOST_WORDS", 10)
    watch, _ = watched(TextDelta("abcdefgh"), TextDelta("ijkl"))

    assert watch.seen_text() == "abcdefgh" + " " * 4
    assert watch.output_estimate() == 3


def test_an_early_end_tells_the_reason_and_the_usage():
    watch, _ = watched(TextDelta("a"))

    assert watch.ending("length", TokenUsage(1)) == b"Finished UsageReported closed"


def test_every_answer_that_is_still_open_is_ended_and_no_other():
    events = [TextDelta("a", 0), TextDelta("b", 1), TextDelta("c", 2), Finished("stop", choice=0)]
    watch = TranslatingWatch(Reader(*events), openai_chat.stream_writer({}), "m")
    watch.see(b"1234")

    chunks = [
        orjson.loads(frame[6:])
        for frame in watch.ending("length", TokenUsage(1)).split(b"\n\n")[:-2]
    ]

    ended = [choice for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert {(one["index"], one["finish_reason"]) for one in ended} == {
        (0, "stop"),
        (1, "length"),
        (2, "length"),
    }
    assert len(ended) == 3


def test_a_call_that_carries_a_signature_gives_both_back():
    assert canonical.opened_id(canonical.signed_id("call_1", "c2ln")) == ("call_1", "c2ln")
    assert canonical.opened_id("call_1") == ("call_1", "")


@pytest.mark.parametrize(("told", "named"), [("", "alpha-tiny"), ("theirs", "theirs")])
def test_an_answer_that_names_no_model_has_the_one_that_was_asked_for(told, named):
    started = Started("1", told)

    watched(started)

    assert started.model == named


def test_a_whole_answer_that_names_no_model_has_the_one_that_was_asked_for(between, monkeypatch):
    started = Started("1", "")
    monkeypatch.setattr(Spoken, "read_response", lambda self, body: [started])
    made = between(Speaker)

    made.text_in({"words": "x"})

    assert started.model == made.target.upstream_model
