"""Which targets a request is tried at, by what is known of them."""

from types import SimpleNamespace

import pytest

from gateway import canonical, fitting
from gateway.canonical import ChatRequest, Media, Message, Reasoning, ResponseFormat, Text, Tool
from gateway.dialects.base import ClientHalf, Drops
from gateway.errors import (
    BadRequest,
    ContextLengthExceeded,
    NotCertified,
    UnsupportedParameter,
)
from gateway.question import Question
from registry.capabilities import Capabilities, together
from tests.gateway.targets import make_target

IMAGE = Media("image", media_type="image/png", data="AAAA")


class Hub(ClientHalf):
    """A client whose body is the request itself."""

    name, task, operation = "hub", "chat", "chat"

    def read_request(self, body):
        if "malformed" in body:
            raise BadRequest("It cannot be read.")
        return body["request"]

    def output_bound(self, body):
        return body.get("bound", 0)

    def answers_asked(self, body):
        return body.get("n", 1)

    write_error = error_frame = input_text = input_estimate = write_response = None


Hub.__abstractmethods__ = frozenset()
HUB = Hub()


def asked(*parts, **fields):
    return ChatRequest([Message("user", list(parts) or [Text("Hello.")])], **fields)


def question(request=None, **body):
    return Question(HUB, "m", b"", {"request": request or asked(), **body})


def targets(*each):
    return [
        make_target(number, capabilities=Capabilities(**told))
        for number, told in enumerate(each, 1)
    ]


def tried(told, *, input_tokens=1, uncertified=(), request=None, **body):
    """The numbers of the targets that are left."""
    found = targets(*told)
    model = SimpleNamespace(
        name="m",
        uncertified=uncertified,
        capabilities=together([target.capabilities for target in found]),
    )
    left = fitting.fitting(model, found, question(request, **body), input_tokens)
    return [target.route_id for target in left]


NEEDING = {
    "tools": asked(tools=[Tool("look")]),
    "vision": asked(IMAGE),
    "documents": asked(Media("document", data="AAAA")),
    "audio_input": asked(Media("audio", data="AAAA")),
    "json_schema": asked(response_format=ResponseFormat("json_schema")),
    "reasoning": asked(reasoning=Reasoning()),
    "logprobs": asked(logprobs=True),
}


@pytest.mark.parametrize("need", NEEDING)
def test_what_a_request_needs_is_read_off_it(need):
    assert fitting.needs(question(NEEDING[need])) == {need}


def test_an_image_in_a_tool_s_result_needs_vision():
    result = canonical.ToolResult("call-1", [IMAGE])

    assert fitting.needs(question(asked(result))) == {"vision"}


def test_a_json_object_needs_no_schema_and_no_thoughts_no_reasoning():
    plain = asked(response_format=ResponseFormat("json_object"), reasoning=Reasoning(enabled=False))

    assert fitting.needs(question(plain)) == set()


@pytest.mark.parametrize("need", NEEDING)
def test_a_target_that_is_known_to_lack_it_is_left_out(need):
    assert tried([{need: False}, {}, {need: True}], request=NEEDING[need]) == [2, 3]


def test_what_nobody_needs_may_be_lacking():
    assert tried([{"vision": False}, {}]) == [1, 2]


def test_where_all_lack_something_those_that_lack_least_are_tried():
    request = asked(IMAGE, tools=[Tool("look")])

    assert tried([{"vision": False, "tools": False}, {"vision": False}], request=request) == [2]


def test_a_request_that_cannot_be_read_is_left_to_whoever_answers():
    assert tried([{"vision": False}, {}], malformed=True) == [1, 2]


def test_a_request_that_surely_does_not_fit_skips_the_small():
    told = [{"context_window": 1000}, {"context_window": 2000}, {}]

    assert tried(told, input_tokens=1800) == [2, 3]


def test_an_estimate_that_may_be_a_third_too_large_refuses_nothing():
    assert tried([{"context_window": 1000}], input_tokens=1500) == [1]


def test_the_output_that_is_asked_for_has_to_fit_too():
    with pytest.raises(ContextLengthExceeded):
        tried([{"context_window": 1000}], input_tokens=900, bound=500)


def test_of_several_answers_each_has_the_window_to_itself():
    assert tried([{"context_window": 1000}], input_tokens=900, bound=1200, n=3) == [1]


def test_one_that_is_too_long_for_all_is_refused_with_the_largest_window():
    with pytest.raises(ContextLengthExceeded, match="2000 tokens.*about 9000"):
        tried([{"context_window": 1000}, {"context_window": 2000}], input_tokens=9000)


def test_a_model_without_certified_routes_says_what_is_missing():
    with pytest.raises(NotCertified, match="tools.*certify it"):
        tried([], uncertified=("tools",))


def test_a_model_without_any_route_is_no_matter_of_certification():
    assert tried([]) == []


class TestWhatIsLeftOut:
    def left(self, request, *, refuses=False, **told):
        drops = Drops(refuses=refuses)
        fitting.spare(request, Capabilities(**told), drops)
        return drops.names

    def test_of_a_target_of_which_nothing_is_known_is_nothing(self):
        assert self.left(asked(IMAGE, tools=[Tool("look")])) == []

    def test_is_told(self):
        request = asked(IMAGE, logprobs=True)

        assert self.left(request, vision=False, logprobs=False) == ["images", "logprobs"]

    def test_is_not_sent(self):
        request = asked(
            tools=[Tool("look")],
            response_format=ResponseFormat("json_schema"),
            reasoning=Reasoning(),
            logprobs=True,
            top_logprobs=2,
        )

        self.left(request, tools=False, json_schema=False, reasoning=False, logprobs=False)

        assert request == asked()

    def test_leaves_a_word_in_place_of_an_image(self):
        request = asked(Text("See:"), IMAGE)

        self.left(request, vision=False)

        assert request.messages[0].parts == [Text("See:"), Text("(image left out)")]

    def test_leaves_other_media_as_they_are(self):
        request = asked(Media("document", data="AAAA"), canonical.ToolResult("call-1", [IMAGE]))

        self.left(request, vision=False)

        assert request.messages[0].parts == [
            Media("document", data="AAAA"),
            canonical.ToolResult("call-1", [Text("(image left out)")]),
        ]

    def test_is_refused_where_the_model_says_so(self):
        with pytest.raises(UnsupportedParameter, match="images"):
            self.left(asked(IMAGE), refuses=True, vision=False)

    def test_is_what_lies_beyond_the_limit_of_the_output(self):
        request = asked(max_tokens=9000)

        assert self.left(request, output_limit=4096) == ["max_tokens"]
        assert request.max_tokens == 4096

    def test_is_nothing_where_the_bound_is_within_the_limit(self):
        assert self.left(asked(max_tokens=9000), output_limit=9000) == []
