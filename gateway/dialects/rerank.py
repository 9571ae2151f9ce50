"""Reranking, as Cohere (docs.cohere.com/reference/rerank) and Jina (api.jina.ai) ask for it.

The two share their core: a query, documents, `top_n`; places and scores, best first. What
clients of one read beside that (`meta.billed_units`), and of the other (`usage`), every
answer has both of. Jina's is also what vLLM, llama.cpp, Infinity, LocalAI and others speak.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard
from uuid import uuid4

import orjson

from gateway import counting
from gateway.canonical import Event, Ranked, RerankRequest, Started, UsageReported
from gateway.dialects.base import (
    Batched,
    ClientHalf,
    Json,
    PassThroughDialect,
    StreamWatch,
    integer,
    items,
    mapping,
)
from gateway.dialects.openai import CHARACTERS_PER_TOKEN, error_object, length_of, with_model
from gateway.dialects.openai_usage import added_up
from gateway.errors import BadRequest
from lib.errors import CourierError
from lib.tokens import TokenUsage

#: Documents that one search unit covers, as Cohere charges them.
DOCUMENTS_PER_UNIT = 100
_KNOWN = frozenset(
    {"model", "query", "documents", "top_n", "return_documents", "max_tokens_per_doc"}
    | {"rank_fields"}
)


class Rerank(PassThroughDialect, Batched, ClientHalf[RerankRequest]):
    """Both clients' format, and Jina's on the other side. Never streamed."""

    name = "rerank"
    task = operation = "rerank"

    def write_error(self, error: CourierError, request_id: str) -> bytes:
        """OpenAI's object, and beside it the words where Cohere's and Jina's clients look."""
        told = error_object(error, request_id)
        words = told["message"]
        return orjson.dumps({"error": told, "message": words, "detail": words})

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        raise TypeError("Rankings are never streamed.")

    def watch(self, request: Json) -> StreamWatch:
        raise TypeError("Rankings are never streamed.")

    def readdress(self, raw: bytes, body: Json, model: str) -> bytes:
        if not any(_is_plain(document) for document in body["documents"]):
            return with_model(raw, body, model)
        # Everybody takes texts, and not all who speak the format take objects that hold one.
        plain = [_unwrapped(document) for document in body["documents"]]
        return orjson.dumps({**body, "model": model, "documents": plain})

    def is_answer(self, body: Any) -> bool:
        return isinstance(_results(mapping(body)), list)

    def usage_in(self, body: Json) -> TokenUsage | None:
        return read_usage(body)

    def text_in(self, body: Json) -> str:
        return ""

    def content_for(self, request: Json, content: bytes, body: Json) -> bytes:
        results = [dict(mapping(result)) for result in _results(body)]
        answer = {**body, "results": results}
        return orjson.dumps(self._completed(answer, read_usage(body), request))

    def input_text(self, body: Json) -> str:
        return "\n".join(map(_words_of, (body["query"], *body["documents"])))

    def input_estimate(self, body: Json) -> int:
        # A model reads the query anew with each document.
        query = length_of(_words_of(body["query"])) * len(body["documents"])
        documents = sum(length_of(_words_of(document)) for document in body["documents"])
        return (query + documents) // CHARACTERS_PER_TOKEN + 1

    def output_bound(self, body: Json) -> int:
        return 0

    def answers_asked(self, body: Json) -> int:
        return 0

    def searches_asked(self, body: Json) -> int:
        return max(-(-len(body["documents"]) // DOCUMENTS_PER_UNIT), 1)

    # In parts, where an administrator says that scores of several calls can be compared

    def inputs_asked(self, body: Json) -> int:
        return len(body["documents"])

    def part(self, body: Json, start: int, stop: int) -> Json:
        part = {**body, "documents": body["documents"][start:stop]}
        if isinstance(body.get("top_n"), int):
            part["top_n"] = min(body["top_n"], stop - start)
        return part

    def joined(self, body: Json, answers: Sequence[tuple[int, Json]]) -> Json:
        results = [
            {**result, "index": start + result["index"]}
            for start, answer in answers
            for result in answer["results"]
        ]
        metas = [mapping(answer.get("meta")) for _, answer in answers]
        told = {
            "usage": added_up(answer.get("usage") for _, answer in answers),
            "meta": {
                name: added_up(meta.get(name) for meta in metas)
                for name in ("billed_units", "tokens")
            },
        }
        return {**answers[0][1], **told, "results": _best(results, body)}

    # Through the hub

    def read_request(self, body: Json) -> RerankRequest:
        fields = items(body.get("rank_fields"))
        top_n, longest = body.get("top_n"), body.get("max_tokens_per_doc")
        return RerankRequest(
            query=_text_of(body["query"], "query"),
            documents=[_text_of(given, "documents", fields) for given in body["documents"]],
            top_n=integer(top_n) if top_n is not None else None,
            return_documents=body.get("return_documents") is True,
            max_tokens_per_document=integer(longest) if longest is not None else None,
            unknown=[
                name for name, value in body.items() if value is not None and name not in _KNOWN
            ],
        )

    def write_response(self, events: Sequence[Event], request: Json) -> Json:
        answer: Json = {"object": "list", "model": request["model"]}
        usage: TokenUsage | None = None
        for event in events:
            match event:
                case Started(id=told_id, model=model):
                    answer |= {"id": told_id} if told_id else {}
                    answer |= {"model": model} if model else {}
                case Ranked(results=ranked):
                    answer["results"] = [
                        {"index": index, "relevance_score": score} for index, score in ranked
                    ]
                case UsageReported(usage=usage):
                    pass
        return self._completed(answer, usage, request)

    def _completed(self, answer: Json, usage: TokenUsage | None, request: Json) -> Json:
        """The answer with what clients of either kind read."""
        results = _best(answer.pop("results"), request)
        if request.get("return_documents") is True:
            results = [_with_document(result, request["documents"]) for result in results]
        tokens = usage.input_tokens if usage else 0
        tokens = tokens or self._counted(request, answer.get("model"))
        units = (usage.search_units if usage else 0) or self.searches_asked(request)
        meta = {
            "billed_units": {"search_units": units},
            "tokens": {"input_tokens": tokens},
            **mapping(answer.get("meta")),
        }
        counts = {"total_tokens": tokens, "prompt_tokens": tokens, **mapping(answer.get("usage"))}
        marks = {"id": f"rerank-{uuid4().hex}", **answer}
        return {**marks, "results": results, "usage": counts, "meta": meta}

    def _counted(self, request: Json, model: Any) -> int:
        documents = [_words_of(document) for document in request["documents"]]
        asked = RerankRequest(_words_of(request["query"]), documents)
        return counting.count(asked, str(model))


def read_usage(body: Mapping[str, Any]) -> TokenUsage | None:
    """What an answer says was used: tokens, search units, or both."""
    meta, usage = mapping(body.get("meta")), mapping(body.get("usage"))
    billed, counted = mapping(meta.get("billed_units")), mapping(meta.get("tokens"))
    tokens = _first(
        usage.get("total_tokens"),
        usage.get("prompt_tokens"),
        billed.get("input_tokens"),
        counted.get("input_tokens"),
    )
    used = TokenUsage(integer(tokens), search_units=integer(billed.get("search_units")))
    # Nothing is ranked for nothing: zeros only fill a form.
    return used if used != TokenUsage() else None


def ranked(results: Any, score: str = "relevance_score") -> Ranked:
    """Places and scores, best first. Raises ValueError if a result has no place or no score."""
    pairs = []
    for result in items(results):
        index, value = mapping(result).get("index"), mapping(result).get(score)
        if not _is_place(index) or not isinstance(value, int | float):
            raise ValueError("A result must have an index and a score.")
        pairs.append((index, float(value)))
    return Ranked(sorted(pairs, key=lambda pair: -pair[1]))


def _results(body: Mapping[str, Any]) -> Any:
    return body["results"] if "results" in body else body.get("data")  # Voyage


def _best(results: Iterable[Json], request: Json) -> list[Json]:
    """Results in the order of their scores, and no more than asked for."""
    told = list(results)
    for result in told:
        if not _is_place(result.get("index")) or not _is_score(result):
            raise ValueError("A result must have an index and a score.")
    told.sort(key=lambda result: -float(result["relevance_score"]))
    top_n = request.get("top_n")
    return told[:top_n] if isinstance(top_n, int) and top_n > 0 else told


def _is_place(index: Any) -> TypeGuard[int]:
    return isinstance(index, int) and index >= 0


def _is_score(result: Json) -> bool:
    return isinstance(result.get("relevance_score"), int | float)


def _with_document(result: Json, documents: Sequence[Any]) -> Json:
    told = result.get("document")
    if isinstance(told, str):
        told = {"text": told}
    elif told is None:
        given = documents[result["index"]] if result["index"] < len(documents) else ""
        told = {"text": given} if isinstance(given, str) else given
    return {**result, "document": told}


def _is_plain(document: Any) -> bool:
    """Whether a document is an object that holds a text and nothing else."""
    return isinstance(document, dict) and document.keys() == {"text"}


def _unwrapped(document: Any) -> Any:
    return document["text"] if _is_plain(document) else document


def _words_of(given: Any) -> str:
    if isinstance(given, str):
        return given
    return "\n".join(value for value in mapping(given).values() if isinstance(value, str))


def _text_of(given: Any, param: str, fields: Sequence[Any] = ()) -> str:
    """A query or a document as a text. Of an object, the fields to rank by, or its text."""
    if isinstance(given, str):
        return given
    told = mapping(given)
    named = [field for field in fields if isinstance(field, str) and field in told]
    if fields:
        return "\n".join(f"{field}: {told[field]}" for field in named)
    text = told.get("text")
    if not isinstance(text, str):
        raise BadRequest(
            f"Invalid {param!r}: the provider of this model takes texts, and objects with a text.",
            param=param,
        )
    return text


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


rerank = Rerank()
