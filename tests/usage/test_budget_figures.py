"""What Redis holds of budgets is told beside the ledger."""

import asyncio

import pytest
import redis
from django.core.management import call_command

from accounts.allowances import every_budget
from accounts.limits import Figures
from accounts.redis_limits import RedisStore
from tests.factories import make_budget
from tests.usage.spools import make_record
from usage import budget_figures

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def budget(settings, redis_server, key, own, monkeypatch):
    """A budget of a key that has spent 20,000 nano-dollars by the ledger."""
    monkeypatch.setattr(budget_figures, "SETTLED_WITHIN_S", 0)
    settings.REDIS_URL = redis_server.url()
    with redis.Redis.from_url(redis_server.url()) as client:
        client.flushall()
    own.record(make_record(key_id=key.pk))
    own.ship()
    return make_budget(key=key)


def build(spent):
    """Let Redis hold so much of the one budget."""

    async def claim_and_build():
        store = RedisStore(budget_figures.settings.REDIS_URL)
        now_us, _ = await store.claim(rules, "token")
        window = rules[0].window_at(now_us)
        await store.build([Figures(rules[0], window, {window: spent})], "token")
        await store.close()

    rules = every_budget()
    asyncio.run(claim_and_build())


def test_a_budget_that_redis_does_not_know_does_not_differ(budget):
    [figures] = budget_figures.figures()

    assert (figures.ledger, figures.held, figures.difference) == (20_000, None, 0)


@pytest.mark.parametrize(("held", "difference"), [(20_000, 0), (19_000, -1_000), (25_000, 5_000)])
def test_a_budget_differs_by_what_redis_holds_less_or_more(budget, held, difference):
    build(held)

    [figures] = budget_figures.figures()

    assert (figures.held, figures.difference) == (held, difference)


def test_the_command_shows_each_budget_and_fails_if_one_differs(budget, capsys):
    build(19_000)

    with pytest.raises(SystemExit):
        call_command("reconcile")

    assert f"budget {budget.pk} of key" in capsys.readouterr().out


def test_without_redis_there_is_nothing_to_tell(budget, settings):
    settings.REDIS_URL = ""

    assert budget_figures.figures() == []
