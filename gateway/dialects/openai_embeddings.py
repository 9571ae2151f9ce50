"""OpenAI's embeddings (platform.openai.com/docs/api-reference/embeddings)."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from gateway import counting
from gateway.canonical import Embedded, EmbeddingsRequest, Event, Started, UsageReported
from gateway.dialects.base import (
    Batched,
    ClientHalf,
    Destination,
    Drops,
    Json,
    StreamWatch,
    UpstreamHalf,
    integer,
    items,
    mapping,
)
from gateway.dialects.json_values import objects
from gateway.dialects.openai import CHARACTERS_PER_TOKEN, OpenAIDialect, length_of
from gateway.dialects.openai_usage import added_up
from gateway.errors import BadRequest
from lib import tokenizer
from lib.tokens import TokenUsage

#: What is read of a request, or means nothing to the answer.
_KNOWN = frozenset({"model", "input", "encoding_format", "dimensions", "input_type"})


class OpenAIEmbeddings(
    OpenAIDialect, Batched, ClientHalf[EmbeddingsRequest], UpstreamHalf[EmbeddingsRequest]
):
    """Embeddings. Never streamed."""

    name = "openai-embeddings"
    task = operation = "embeddings"

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("data"), list)

    def usage_in(self, body: Json) -> TokenUsage | None:
        usage = mapping(body.get("usage"))
        if usage.get("prompt_tokens") is None and usage.get("total_tokens") is not None:
            return TokenUsage(input_tokens=integer(usage["total_tokens"]))  # Voyage
        return super().usage_in(body)

    def text_in(self, body: Json) -> str:
        return ""

    def watch(self, request: Json) -> StreamWatch:
        raise TypeError("Embeddings are never streamed.")

    def content_for(self, request: Json, content: bytes, body: Json) -> bytes:
        """Embeddings in the encoding that the client wants, where the provider chose another."""
        wanted = _wanted(request)
        given = [_embedding(item) for item in body["data"]]
        if not any(isinstance(vector, _OTHER[wanted]) for vector in given):
            return content
        encoded = [_encoded(item, wanted) for item in body["data"]]
        return orjson.dumps({**body, "data": encoded})

    def input_text(self, body: Json) -> str:
        given = body["input"]
        if isinstance(given, str):
            return given
        return "\n".join(item for item in given if isinstance(item, str))

    def input_estimate(self, body: Json) -> int:
        return (
            _tokens_given(body["input"])
            + length_of(self.input_text(body)) // CHARACTERS_PER_TOKEN
            + 1
        )

    def output_bound(self, body: Json) -> int:
        return 0

    def answers_asked(self, body: Json) -> int:
        return 0

    # In parts

    def inputs_asked(self, body: Json) -> int:
        return 1 if _is_single(body["input"]) else len(body["input"])

    def part(self, body: Json, start: int, stop: int) -> Json:
        return {**body, "input": body["input"][start:stop]}

    def joined(self, body: Json, answers: Sequence[tuple[int, Json]]) -> Json:
        data: list[Json] = []
        for start, answer in answers:
            if len(data) != start:
                raise ValueError("An input has no vector, or more than one.")
            data += (
                {**item, "index": start + place}
                for place, item in enumerate(_in_order(objects(answer["data"])))
            )
        if len(data) != self.inputs_asked(body):
            raise ValueError("An input has no vector, or more than one.")
        first = answers[0][1]
        usage = added_up(answer.get("usage") for _, answer in answers)
        return {**first, "data": data, **({"usage": usage} if "usage" in first else {})}

    # Through the hub

    def read_request(self, body: Json) -> EmbeddingsRequest:
        given = body["input"]
        dimensions = body.get("dimensions")
        return EmbeddingsRequest(
            inputs=[given] if _is_single(given) else list(given),
            dimensions=integer(dimensions) if dimensions is not None else None,
            purpose=str(body.get("input_type") or ""),
            unknown=[
                name for name, value in body.items() if value is not None and name not in _KNOWN
            ],
        )

    def write_response(self, events: Sequence[Event], request: Json) -> Json:
        answer: Json = {"object": "list", "data": [], "model": request["model"]}
        used = None
        for event in events:
            match event:
                case Embedded(vectors=vectors):
                    answer["data"] = [
                        _encoded(_item(place, vector), _wanted(request))
                        for place, vector in enumerate(vectors)
                    ]
                case Started(model=model) if model:
                    answer["model"] = model
                case UsageReported(usage=usage):
                    used = usage.input_tokens
        if used is None:
            used = counting.count(self.read_request(request), answer["model"])
        return {**answer, "usage": {"prompt_tokens": used, "total_tokens": used}}

    def write_request(self, request: EmbeddingsRequest, to: Destination, drops: Drops) -> Json:
        if request.purpose:
            drops.note("input_type")
        body: Json = {"model": to.upstream_model, "input": request.inputs}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return body

    def read_response(self, body: Json) -> list[Event]:
        data = _in_order(body["data"])
        vectors = [_numbers(_embedding(item)) for item in data]
        events: list[Event] = [
            Started(str(body.get("id") or ""), str(body.get("model") or "")),
            Embedded(vectors),
        ]
        usage = self.usage_in(body)
        return [*events, UsageReported(usage)] if usage else events


def texts_of(request: EmbeddingsRequest) -> list[str]:
    """The inputs as texts, for vendors that take nothing else. Raises BadRequest.

    Lists of tokens are in OpenAI's vocabulary: its SDKs and those around them make them.
    """
    try:
        return [
            given if isinstance(given, str) else tokenizer.text_of(given)
            for given in request.inputs
        ]
    except ValueError:
        raise BadRequest(
            "The provider of this model takes texts only, and these tokens are none of the "
            "vocabulary that is used for embeddings (cl100k). Send texts.",
            param="input",
        ) from None


#: What has to be changed, by what the client wants.
_OTHER: dict[str, type[Any]] = {"float": str, "base64": list}


def _wanted(request: Json) -> str:
    return "base64" if request.get("encoding_format") == "base64" else "float"


def _is_single(given: Any) -> bool:
    return isinstance(given, str) or (bool(given) and isinstance(given[0], int))


def _item(place: int, vector: list[float]) -> Json:
    return {"object": "embedding", "index": place, "embedding": vector}


def _embedding(item: Any) -> Any:
    return mapping(item).get("embedding")


def _in_order(data: Any) -> list[Any]:
    """Items by their index, where all have one."""
    given = list(items(data))
    if all(isinstance(mapping(item).get("index"), int) for item in given):
        given.sort(key=lambda item: integer(item["index"]))
    return given


def _encoded(item: Any, wanted: str) -> Any:
    """The item with its vector as numbers, or as little-endian float32 in base64."""
    vector = _embedding(item)
    if not isinstance(vector, _OTHER[wanted]):
        return item
    try:
        changed = _packed(vector) if wanted == "base64" else _numbers(vector)
    except (ValueError, OverflowError):
        return item  # not numbers, or none that float32 holds: the provider's own to explain
    return {**item, "embedding": changed}


def _packed(numbers: Iterable[Any]) -> str:
    given = list(numbers)
    try:
        return base64.b64encode(struct.pack(f"<{len(given)}f", *given)).decode()
    except struct.error as error:
        raise ValueError("A vector must be of numbers.") from error


def _numbers(vector: Any) -> list[float]:
    """A vector as numbers, from either encoding. Raises ValueError."""
    if isinstance(vector, list):
        return vector
    try:
        packed = base64.b64decode(vector, validate=True)
        return list(struct.unpack(f"<{len(packed) // 4}f", packed))
    except (TypeError, binascii.Error, struct.error) as error:
        raise ValueError("A vector must be numbers, or their base64.") from error


def _tokens_given(given: Any) -> int:
    """How many tokens the client counted out itself: integers, or lists of them."""
    if not isinstance(given, list):
        return 0
    return sum(len(item) if isinstance(item, list) else isinstance(item, int) for item in given)


openai_embeddings = OpenAIEmbeddings()
