import contextlib

import pytest

from gateway.retry_budget import FLOOR, WINDOW_S, RetryBudget


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


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
    share, *_ = waiting(RetryBudget(), stack, 10)

    assert [share.take() for _ in range(FLOOR)] == [True] * FLOOR


def test_a_request_that_ends_makes_room_for_another_that_retries(stack, clock):
    budget = RetryBudget(clock)
    shares = waiting(budget, stack, FLOOR)
    with budget.request() as first:
        first.take()
        for share in shares[:-1]:
            share.take()
    clock.now += WINDOW_S

    assert shares[-1].take()


def test_where_failures_come_fast_retries_are_a_part_of_the_last_requests(clock):
    budget = RetryBudget(clock)
    made = 0
    for _ in range(1000):
        clock.now += 0.005
        with budget.request() as share:
            made += share.take() + share.take()

    assert made <= 0.2 * 1000 + FLOOR


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


def test_requests_that_have_waited_for_long_count_too(stack, clock):
    shares = waiting(RetryBudget(clock), stack, 100)
    clock.now += WINDOW_S + 1

    assert sum(share.take() for share in shares) == 17
