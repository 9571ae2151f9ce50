import contextlib

import pytest

from gateway.retry_budget import FLOOR, RetryBudget


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


def waiting(budget, stack, number):
    return [stack.enter_context(budget.request()) for _ in range(number)]


def test_a_few_may_always_retry(stack):
    shares = waiting(RetryBudget(), stack, 5)

    assert [share.take() for share in shares] == [True] * FLOOR + [False] * 2


def test_of_many_one_in_six_may_retry_beside_five_first_tries(stack):
    shares = waiting(RetryBudget(), stack, 600)

    assert sum(share.take() for share in shares) == 100


def test_who_retries_already_may_go_on(stack):
    share, *others = waiting(RetryBudget(), stack, 10)
    for each in (share, *others):
        each.take()

    assert share.take()


def test_a_request_that_ends_makes_room(stack):
    budget = RetryBudget()
    shares = waiting(budget, stack, FLOOR)
    with budget.request() as first:
        assert first.take()
        for share in shares:
            share.take()

    assert shares[-1].take()


def test_refusals_are_counted(stack):
    budget = RetryBudget()
    for share in waiting(budget, stack, FLOOR + 2):
        share.take()

    assert budget.refused == 2


def test_nothing_is_left_behind():
    budget = RetryBudget()
    with contextlib.suppress(ZeroDivisionError), budget.request() as share:
        share.take()
        raise ZeroDivisionError

    assert (budget.waiting, budget.retrying) == (0, 0)
