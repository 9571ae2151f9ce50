"""S-40: what the ledger says that requests cost follows from its own figures and price rows."""

import asyncio
import math
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Team
from lib.tokens import TokenUsage
from registry.models import Price as PriceRow
from registry.pricing import Price, charged_nano
from tests import factories
from tests.fakes.upstream import (
    CUT,
    DONE,
    HELLO,
    OPENING,
    STOP,
    Answer,
    completion,
    frame,
    usage_chunk,
    usage_of,
)
from tests.faults.figures import figure
from tests.gateway.conftest import WITHIN_S, in_thread
from tests.soak import trials
from usage.models import UsageRecord
from usage.rows import MOST_NANO

MILLION = 10**6
ADDED = trials(60, 2000)
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CLASSES = (
    "input", "cached_input", "cache_write", "cache_write_1h", "audio_input", "output", "reasoning",
    "audio_output", "request", "image", "search_unit",
)  # fmt: skip
#: Classes of tokens that are part of another count, which grows with them.
PART_OF = {
    "cached_input_tokens": ("input_tokens",),
    "cache_write_tokens": ("input_tokens",),
    "cache_write_1h_tokens": ("cache_write_tokens", "input_tokens"),
    "audio_input_tokens": ("input_tokens",),
    "reasoning_tokens": ("output_tokens",),
    "audio_output_tokens": ("output_tokens",),
}
COUNTS = [one.name for one in fields(TokenUsage)]

prices = st.builds(
    lambda figures: Price(1, BEGAN, **dict(zip(CLASSES, figures, strict=True))),
    st.tuples(*[st.integers(0, 10**12)] * len(CLASSES)),
)
usages = st.builds(TokenUsage, **dict.fromkeys(COUNTS, st.integers(0, 10**9)))
markups = st.integers(-20_000, 100_000)


@given(price=prices, usage=usages, markup=markups)
def test_s40_no_answer_costs_less_than_nothing(price, usage, markup):
    cost = price.cost_nano(usage)

    assert (isinstance(cost, int), cost >= 0, charged_nano(cost, markup) >= 0) == (True,) * 3


@given(price=prices, usage=usages, count=st.sampled_from(COUNTS), more=st.integers(1, 10**6))
def test_s40_more_of_anything_never_costs_less(price, usage, count, more):
    grown = (count, *PART_OF.get(count, ()))
    larger = replace(usage, **{name: getattr(usage, name) + more for name in grown})

    assert price.cost_nano(larger) >= price.cost_nano(usage)


@given(cost=st.integers(0, 10**15), more=st.integers(0, 10**6), markup=markups)
def test_s40_a_dearer_answer_is_never_charged_less(cost, more, markup):
    assert charged_nano(cost + more, markup) >= charged_nano(cost, markup)


def recomputed_nano(record, row):
    """By decimals, from a record's counts and the price row that it names."""
    of_row = lambda name, other: getattr(row, name) if getattr(row, name) is not None else other  # noqa: E731
    write = of_row("cache_write", row.input)
    counts = {
        row.input: record.input_tokens - record.cached_input_tokens
        - record.cache_write_tokens - record.audio_input_tokens,
    }  # fmt: skip
    per_million = [
        (max(counts[row.input], 0), row.input),
        (record.cached_input_tokens, of_row("cached_input", row.input)),
        (max(record.cache_write_tokens - record.cache_write_1h_tokens, 0), write),
        (record.cache_write_1h_tokens, of_row("cache_write_1h", write)),
        (record.audio_input_tokens, of_row("audio_input", row.input)),
        (
            max(record.output_tokens - record.reasoning_tokens - record.audio_output_tokens, 0),
            row.output,
        ),
        (record.reasoning_tokens, of_row("reasoning", row.output)),
        (record.audio_output_tokens, of_row("audio_output", row.output)),
    ]
    dollars = sum(Decimal(count) * each / MILLION for count, each in per_million)
    dollars += (row.request or 0) + record.images * (row.image or 0)
    dollars += record.search_units * (row.search_unit or 0)
    provider = math.ceil(dollars * 10**9)
    charged = max(math.ceil(Decimal(provider) * (10_000 + record.markup_bp) / 10_000), 0)
    return min(charged, MOST_NANO)


ODD_USAGES = [
    usage_of(7, 3),
    usage_of(1, 0),
    usage_of(1000, 333, prompt_tokens_details={"cached_tokens": 900, "audio_tokens": 17}),
    usage_of(12, 77, completion_tokens_details={"reasoning_tokens": 70, "audio_tokens": 3}),
    usage_of(5, 5, prompt_tokens_details={"cached_tokens": 50}),
    usage_of(2**31, 3),
    usage_of(-5, 9),
    usage_of(9, -5),
    usage_of(2**63, 1),
    usage_of(7, 3) | {"prompt_tokens": "7", "completion_tokens": 1.5},
]


def answer(request):
    """As many kinds of usage as there are, whole and in streams, some of them cut off."""
    number = int(request.json["user"])
    usage = ODD_USAGES[number % len(ODD_USAGES)]
    if not request.json.get("stream"):
        return Answer((completion(usage=usage),))
    if number % 7 == 0:
        return Answer((OPENING, HELLO, HELLO, CUT))
    return Answer((OPENING, HELLO, STOP, frame_of(usage), DONE))


def frame_of(usage):
    return usage_chunk() if usage is ODD_USAGES[0] else frame({"choices": [], "usage": usage})


async def test_s40_every_record_costs_what_its_price_row_says(courier, chat, upstream, team, tiny):
    upstream.default = answer

    def make_dearer():
        Team.objects.filter(pk=team.pk).update(markup_percent=Decimal("12.5"))
        dear = {"cached_input": "0.01", "reasoning": "9.123456", "audio_input": "3"}
        more = {"request": Decimal("0.000001"), "starts_at": datetime.now(UTC)}
        factories.make_price(tiny, input="0.333333", output="7.000001", **dear, **more)

    asked = range(ADDED // 2)
    await asyncio.gather(*(chat(user=str(n), stream=n % 3 == 0) for n in asked))
    await courier.make(make_dearer)
    await asyncio.gather(*(chat(user=str(n), stream=n % 3 == 0) for n in asked))

    rows = {row.pk: row for row in await in_thread(list, PriceRow.objects.all())}
    records = await records_of(2 * len(asked))
    wrong = {
        str(record.pk): (record.cost_nano, recomputed_nano(record, rows[record.price_id]))
        for record in records
        if record.cost_nano != recomputed_nano(record, rows[record.price_id])
    }

    figure("S-40", f"{len(records)} rows recomputed, {len(wrong)} differ", "0")
    assert wrong == {}
    assert len({record.price_id for record in records}) == 2
    assert {record.markup_bp for record in records} == {0, 1250}
    assert min(record.cost_nano for record in records) >= 0


async def records_of(count):
    async def enough():
        return await in_thread(UsageRecord.objects.count) >= count

    async with asyncio.timeout(WITHIN_S):
        while not await enough():
            await asyncio.sleep(0.05)
    return await in_thread(list, UsageRecord.objects.all())
