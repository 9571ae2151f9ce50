"""Reranking, end to end: clients of either kind, over each kind of upstream."""

import json

import pytest

from gateway.dialects.rerank import ranked, read_usage
from registry import snapshot
from tests import factories
from tests.fakes.upstream import CUT, Answer
from tests.gateway.conftest import in_thread
from tests.gateway.test_attempts import attempts_of

DOCUMENTS = ["Paris is in France.", "Cats sleep.", "Seoul is in Korea."]
#: As each vendor answers for these documents, whose scores are 0.5, 0.1 and 0.9.
COHERE = {
    "id": "5e3b",
    "results": [
        {"index": 2, "relevance_score": 0.9},
        {"index": 0, "relevance_score": 0.5},
        {"index": 1, "relevance_score": 0.1},
    ],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
}
JINA = {
    "model": "ranker",
    "usage": {"total_tokens": 40},
    "results": [
        {"index": 2, "relevance_score": 0.9, "document": {"text": DOCUMENTS[2]}},
        {"index": 0, "relevance_score": 0.5, "document": {"text": DOCUMENTS[0]}},
        {"index": 1, "relevance_score": 0.1, "document": {"text": DOCUMENTS[1]}},
    ],
}
TEI = [
    {"index": 2, "score": 0.9},
    {"index": 0, "score": 0.5},
    {"index": 1, "score": 0.1},
]
VOYAGE = {"object": "list", "data": JINA["results"], "model": "r", "usage": {"total_tokens": 40}}
#: Nobody promises an order.
LLAMA_CPP = {**JINA, "results": [{"index": 1, "relevance_score": 0.1}, *JINA["results"][:2]]}
#: Kind, path behind the upstream's address, and answer.
VENDORS = {
    "cohere": ("cohere", "/v2/rerank", COHERE),
    "jina": ("openai_compatible", "/v1/rerank", JINA),
    "vllm": ("vllm", "/v1/rerank", JINA),
    "tei": ("tei", "/rerank", TEI),
    "voyage": ("openai_compatible", "/v1/rerank", VOYAGE),
    "llama.cpp": ("openai_compatible", "/v1/rerank", LLAMA_CPP),
}


@pytest.fixture
async def ask(courier, key, upstream):
    """Ask for a ranking, of a vendor that answers as it does."""

    async def ask(vendor="jina", path="/v1/rerank", answer=None, batch_limit=None, **body):
        kind, place, told = VENDORS[vendor]
        root = upstream.url.removesuffix("/v1")
        url = upstream.url if place.startswith("/v1") else root

        def rows():
            provider = factories.make_provider(kind, kind=kind, base_url=url)
            factories.make_upstream_key(provider)
            model = factories.make_model("ranks", priced=False, batch_limit=batch_limit)
            factories.make_route(model, provider, upstream_model="ranker")
            factories.make_price(model, input="1", output="0", search_unit="0.002")

        if not snapshot.current().model("ranks"):
            await courier.make(rows)
        if answer is None:
            upstream.will_answer(json.dumps(told).encode())
        elif callable(answer):
            upstream.default = answer
        else:
            upstream.will_answer(json.dumps(answer).encode())
        asked = {"model": "ranks", "query": "Where is Seoul?", "documents": DOCUMENTS, **body}
        return await courier.post(path, asked, key=key)

    return ask


@pytest.mark.parametrize("vendor", sorted(VENDORS))
@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_every_upstream_answers_clients_of_every_kind(ask, upstream, vendor, path):
    reply = await ask(vendor, path)

    answer = reply.json
    assert reply.status == 200
    assert upstream.requests[-1].path == VENDORS[vendor][1]
    assert [result["index"] for result in answer["results"]] == [2, 0, 1]
    assert [result["relevance_score"] for result in answer["results"]] == [0.9, 0.5, 0.1]
    assert answer["id"]
    assert answer["model"]
    assert answer["usage"]["total_tokens"] > 0
    assert answer["meta"]["billed_units"]["search_units"] == 1


@pytest.mark.parametrize("vendor", sorted(VENDORS))
async def test_documents_come_back_where_that_is_asked_for(ask, vendor):
    results = (await ask(vendor, return_documents=True)).json["results"]

    assert [result["document"] for result in results] == [
        {"text": DOCUMENTS[index]} for index in (2, 0, 1)
    ]


@pytest.mark.parametrize("vendor", ["cohere", "tei"])
async def test_documents_do_not_come_back_unasked(ask, vendor):
    assert "document" not in (await ask(vendor)).json["results"][0]


@pytest.mark.parametrize("vendor", sorted(VENDORS))
async def test_no_more_come_back_than_asked_for(ask, vendor):
    results = (await ask(vendor, top_n=2)).json["results"]

    assert [result["index"] for result in results] == [2, 0]


async def test_searches_are_charged_as_their_provider_counts_them(ask, courier):
    record = await courier.record((await ask("cohere")).request_id)

    assert (record.operation, record.search_units, record.input_tokens) == ("rerank", 1, 0)
    assert (record.usage_source, record.cost_nano) == ("provider", 2_000_000)


async def test_tokens_are_charged_where_their_provider_counts_those(ask, courier):
    record = await courier.record((await ask("jina")).request_id)

    assert (record.search_units, record.input_tokens, record.cost_nano) == (0, 40, 40_000)


async def test_both_are_counted_where_nobody_says(ask, courier):
    def silent(request):
        scores = [{"index": index, "score": 0.5} for index in range(len(request["texts"]))]
        return Answer((json.dumps(scores).encode(),))

    reply = await ask("tei", answer=silent, documents=DOCUMENTS * 40)
    record = await courier.record(reply.request_id)

    assert (record.usage_source, record.search_units) == ("estimated", 2)
    assert record.input_tokens > 120 * 5


async def test_a_request_passes_byte_by_byte_where_its_format_is_spoken(
    courier, ask, key, upstream
):
    await ask("jina")
    raw = b'{"documents": ["a",  {"image": "x"}], "model":"ranks", "query": "q", "truncation": 1}'
    upstream.will_answer(b'{"results": []}')

    reply = await courier.request("POST", "/v1/rerank", key=key, content=raw)

    assert reply.status == 200
    assert upstream.requests[-1].body == raw.replace(b'"ranks"', b'"ranker"')


async def test_objects_that_only_hold_a_text_are_sent_as_texts(ask, upstream):
    await ask("vllm", documents=[{"text": "a"}, "b", {"text": "c", "title": "t"}])

    assert upstream.requests[-1]["documents"] == ["a", "b", {"text": "c", "title": "t"}]


async def test_what_cohere_is_asked(ask, upstream):
    await ask("cohere", top_n=2, max_tokens_per_doc=100, documents=[{"text": "a"}, "b"])

    assert upstream.requests[-1].json == {
        "model": "ranker",
        "query": "Where is Seoul?",
        "documents": ["a", "b"],
        "top_n": 2,
        "max_tokens_per_doc": 100,
    }


async def test_what_tei_is_asked(ask, upstream):
    reply = await ask("tei", top_n=2, max_tokens_per_doc=100)

    assert upstream.requests[-1].json == {
        "query": "Where is Seoul?",
        "texts": DOCUMENTS,
        "truncate": True,
    }
    assert reply.headers["x-courier-dropped-params"] == "max_tokens_per_doc"


async def test_fields_of_a_document_are_ranked_by_in_the_order_asked_for(ask, upstream):
    document = {"title": "T", "text": "X", "year": "1999"}
    answer = {"results": [{"index": 0, "relevance_score": 1}]}

    reply = await ask(
        "cohere",
        answer=answer,
        documents=[document],
        rank_fields=["year", "title"],
        return_documents=True,
    )

    assert upstream.requests[-1]["documents"] == ["year: 1999\ntitle: T"]
    assert reply.json["results"][0]["document"] == document


async def test_what_a_provider_has_no_place_for_is_announced(ask):
    reply = await ask("cohere", truncation=True)

    assert reply.headers["x-courier-dropped-params"] == "truncation"


async def test_a_document_without_a_text_is_refused_where_only_texts_are_taken(ask, upstream):
    reply = await ask("cohere", documents=[{"image": "x"}])

    assert (reply.status, reply.error["param"], upstream.requests) == (400, "documents", [])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("documents", []),
        ("documents", "a"),
        ("documents", [1]),
        ("query", 5),
        ("top_n", 0),
        ("top_n", "2"),
        ("return_documents", "yes"),
    ],
)
async def test_a_request_that_is_none_is_refused(ask, upstream, field, value):
    reply = await ask(**{field: value})

    assert (reply.status, upstream.requests) == (400, [])
    assert reply.error["param"].split(".")[0] == field


@pytest.mark.parametrize(
    "result", [{"index": 0}, {"relevance_score": 1}, {"index": "0", "relevance_score": 1}, 5]
)
@pytest.mark.parametrize("vendor", ["jina", "cohere", "tei"])
async def test_a_result_without_a_place_or_a_score_is_malformed(ask, vendor, result):
    answer = [result] if vendor == "tei" else {"results": [result]}

    assert (await ask(vendor, answer=answer)).code == "upstream_bad_response"


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_an_error_is_told_where_clients_of_each_kind_look(courier, path):
    reply = await courier.post(path, {})

    assert reply.status == 401
    assert reply.json["message"] == reply.json["detail"] == reply.error["message"]


async def test_a_refusal_in_the_providers_words_reaches_the_client(ask, courier, key, upstream):
    await ask("jina")
    upstream.will_answer(b'{"detail": "Too many documents."}', status=422)

    reply = await courier.post(
        "/v1/rerank", {"model": "ranks", "query": "q", "documents": ["a"]}, key=key
    )

    assert (reply.status, "Too many documents." in reply.json["message"]) == (422, True)


async def test_documents_are_not_split_unless_somebody_says_so(ask, upstream):
    await ask("cohere", answer=COHERE, documents=DOCUMENTS * 500)

    assert len(upstream.requests) == 1


def by_length(request):
    """Ranks documents by their length."""
    scores = [
        {"index": index, "relevance_score": len(document)}
        for index, document in enumerate(request["documents"])
    ]
    usage = {"total_tokens": 10}
    meta = {"billed_units": {"search_units": 1}}
    answer = {"id": "1", "results": scores[::-1], "usage": usage, "meta": meta}
    return Answer((json.dumps(answer).encode(),))


async def test_where_a_limit_is_set_documents_are_split_and_ranked_together(ask, upstream, courier):
    reply = await ask(
        "jina", answer=by_length, batch_limit=2, documents=["aa", "a", "aaaa", "aaa"], top_n=3
    )

    assert sorted(request["documents"] for request in upstream.requests) == [
        ["aa", "a"],
        ["aaaa", "aaa"],
    ]
    assert [result["index"] for result in reply.json["results"]] == [2, 3, 0]
    assert reply.json["usage"]["total_tokens"] == 20
    assert reply.json["meta"]["billed_units"] == {"search_units": 2}
    record = await courier.record(reply.request_id)
    assert (record.input_tokens, record.search_units) == (20, 2)
    assert len(await attempts_of(record)) == 1


async def test_a_search_that_broke_off_is_told_as_spent_for_nothing(ask, courier):
    reply = await ask("cohere", answer=lambda _: Answer((b'{"results": [', CUT)))

    record = await courier.record(reply.request_id)
    attempts = await attempts_of(record)
    assert [each.received for each in attempts] == [False] * len(attempts)
    assert min(each.cost_nano for each in attempts) >= 2_000_000  # of one search


async def test_a_key_may_be_kept_from_ranking(courier, upstream):
    key = await in_thread(lambda: factories.make_key(allowed_endpoints=["chat"]))

    reply = await courier.post(
        "/v1/rerank", {"model": "tiny", "query": "q", "documents": ["a"]}, key=key
    )

    assert (reply.status, reply.code) == (403, "endpoint_not_allowed")


@pytest.mark.parametrize(
    "told",
    [
        {"meta": {"billed_units": {"search_units": "1"}}},
        {"meta": {"billed_units": {"search_units": 0, "input_tokens": 0}}},
        {"usage": {"total_tokens": -5}},
    ],
)
def test_figures_that_cannot_be_say_nothing(told):
    assert read_usage(told) is None


def test_a_place_before_the_first_is_none():
    with pytest.raises(ValueError, match="an index"):
        ranked([{"index": -1, "relevance_score": 0.5}])
