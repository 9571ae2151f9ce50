"""What is held for a request, worked out before anybody is asked."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from gateway.bill import MARKS, STEP, UNBOUNDED_HOLD, Bill
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.dialects.rerank import rerank
from gateway.question import Question
from registry import snapshot
from tests import factories
from tests.accounts.conftest import a_principal
from usage.rows import MOST_NANO

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
TEXT = "x" * 396  # a hundred tokens, with the one that is always added
BUDGET = SimpleNamespace(hard=True)


def bill_of(
    dialect=openai_chat,
    *,
    budgets=(BUDGET,),
    markup_bp=0,
    price=None,
    output_limit=None,
    wants_stream=False,
    **body,
):
    provider = factories.make_provider()
    model = factories.make_model("billed", provider, priced=False, output_limit=output_limit)
    factories.make_price(model, starts_at=NOW.replace(year=2025), **(price or {}))
    loaded = snapshot.load(1).models["billed"]
    given = {"model": "billed", "messages": [{"role": "user", "content": TEXT}], **body}
    principal = a_principal(budgets=budgets, markup_bp=markup_bp)
    question = Question(dialect, "billed", b"", given, wants_stream)
    return Bill(question, principal, loaded, NOW), loaded.targets


def held(**options):
    bill, targets = bill_of(**options)
    return bill.need(targets).cost_nano


INPUT = (100 * 4 // 3 + MARKS) * 1000


def test_the_hold_is_for_the_input_and_the_bound_of_the_output():
    assert held(max_tokens=50) == INPUT + 50 * 2000


def test_without_a_bound_it_is_for_a_usual_answer():
    assert held() == INPUT + UNBOUNDED_HOLD * 2000


def test_without_a_bound_each_of_many_answers_is_a_usual_one():
    assert held(n=3) == INPUT + 3 * UNBOUNDED_HOLD * 2000


def test_no_more_is_held_than_a_record_can_say():
    assert held(max_tokens=10**12, n=10**6) == MOST_NANO


@pytest.mark.parametrize("figure", ["image", "search_unit"])
def test_what_tokens_do_not_bound_is_not_free(figure):
    assert held(price={"input": 0, "output": 0, figure: "0.01"}) > 0


def test_the_markup_is_held_too():
    assert held(max_tokens=50, markup_bp=1000) == (INPUT + 50 * 2000) * 11 // 10


def test_nothing_is_held_where_there_is_no_budget():
    assert held(budgets=()) == 0


def test_the_searches_of_a_ranking_are_held():
    price = {"input": 0, "output": 0, "search_unit": "0.002"}

    assert held(dialect=rerank, price=price, query="q", documents=["a"] * 250) == 3 * 2_000_000


def test_embeddings_have_no_output_to_hold_for():
    assert held(dialect=openai_embeddings, input=TEXT) == INPUT


def test_limits_are_told_of_the_bound_alone():
    bill, targets = bill_of()

    assert bill.need(targets)[:2] == (100, 0)


def test_a_step_is_for_output_alone():
    bill, (target,) = bill_of(price={"request": "0.5"})

    assert bill.step_nano(target) == STEP * 2000


@pytest.mark.parametrize(
    ("body", "budgets", "covered"),
    [({}, (BUDGET,), UNBOUNDED_HOLD), ({"max_tokens": 9}, (BUDGET,), None), ({}, (), None)],
)
def test_only_a_stream_without_a_bound_and_with_a_budget_is_extended(body, budgets, covered):
    bill, (target,) = bill_of(budgets=budgets, **body)

    assert bill.covered_tokens(target) == covered


class TestTheLimitOfTheModelsOutput:
    def test_is_held_for_a_whole_answer_where_a_budget_is_hard(self):
        assert held(output_limit=9000) == INPUT + 9000 * 2000

    def test_is_held_for_each_of_many_answers(self):
        assert held(output_limit=9000, n=2) == INPUT + 2 * 9000 * 2000

    def test_is_not_held_for_a_stream_whose_hold_is_extended(self):
        assert held(output_limit=9000, wants_stream=True) == INPUT + UNBOUNDED_HOLD * 2000

    def test_is_not_held_where_budgets_only_warn(self):
        soft = (SimpleNamespace(hard=False),)

        assert held(output_limit=9000, budgets=soft) == INPUT + UNBOUNDED_HOLD * 2000

    @pytest.mark.parametrize("streams", [True, False])
    def test_is_enough_where_it_is_small(self, streams):
        assert held(output_limit=100, wants_stream=streams) == INPUT + 100 * 2000

    def test_means_nothing_beside_a_bound_of_the_request(self):
        assert held(output_limit=9000, max_tokens=50) == INPUT + 50 * 2000

    def test_covers_a_stream_as_far_as_it_is_held(self):
        bill, (target,) = bill_of(output_limit=100, wants_stream=True)

        assert bill.covered_tokens(target) == 100
