"""One upstream call tells all who have to know of it how it began and ended."""

from datetime import UTC, datetime

import pytest

from gateway import call, errors, flow
from gateway.bill import Bill
from gateway.breaker import FAILURES_TO_OPEN, Breakers
from gateway.call import Call
from gateway.dialects.openai_chat import openai_chat
from gateway.flow import Traffic
from gateway.keys import WITHOUT_CREDIT, Keys
from gateway.load import PENALTY_S, Load
from gateway.question import Question
from gateway.throttle import LEAST, Throttle
from registry import health
from registry.key_health import Cooling, Place
from registry.snapshot import Model
from tests.accounts.conftest import a_principal
from tests.gateway.targets import make_target

TARGET, OTHER = make_target(1, key_id=7), make_target(2)
DOWN = errors.UpstreamUnavailable("It failed.")
REJECTED = errors.UpstreamRejected("No.", status=400, code=None, param=None)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MODEL = Model(1, "tiny", "", NOW, 3, (TARGET, OTHER), ())


class Known:
    """What is known of targets, and the time of the event loop."""

    def __init__(self):
        self.breakers, self.keys, self.throttle = Breakers(), Keys(), Throttle()
        self.load, self.traffic = Load(), Traffic()
        self.now = 1000.0
        question = Question(openai_chat, "tiny", b"", {"model": "tiny", "messages": []})
        self.bill = Bill(question, a_principal(), MODEL, NOW)

    async def begun(self, target=TARGET):
        made = Call(target, self.bill, lambda: self.now)
        await made.begin()
        return made

    def open_breaker(self):
        """Half open: the next call is the probe."""
        for _ in range(FAILURES_TO_OPEN):
            self.breakers.failed(TARGET, DOWN, self.breakers.begin(TARGET))
        self.breakers.try_again(TARGET, since_s=-1)

    def out_of_credit(self):
        """The rest is over: the next call is the probe."""
        place, now = Place(TARGET.provider_id, TARGET.key_id), self.keys._now()
        self.keys.board.cool(place, Cooling(now - 1, WITHOUT_CREDIT, now))


@pytest.fixture
def known(monkeypatch):
    known = Known()
    for name in ("breakers", "keys", "throttle", "load", "traffic"):
        monkeypatch.setattr(call, name, getattr(known, name))
    monkeypatch.setattr(flow, "load", known.load)
    monkeypatch.setattr(health, "report", lambda *_: None)
    return known


def answered(made):
    made.answered(TARGET)


def broke_off(made):
    made.answered(TARGET)
    made.broke_off(DOWN)


def failed(made):
    made.failed(DOWN)


def rejected(made):
    made.failed(REJECTED)


def given_up(made):
    made.give_up()


async def test_it_is_in_flight_until_it_is_left(known):
    made, _ = await known.begun(), await known.begun()
    seen = [known.load.in_flight(TARGET)]
    made.answered(TARGET)
    for _ in range(2):
        made.leave()
        seen.append(known.load.in_flight(TARGET))

    assert seen == [2, 1, 1]


async def test_a_call_that_fails_is_in_flight_no_longer(known):
    (await known.begun()).failed(DOWN)

    assert known.load.in_flight(TARGET) == 0


async def test_how_long_its_first_output_took_is_measured(known):
    made = await known.begun()
    known.now += 0.5
    made.answered(TARGET)

    assert known.load.latency_s(TARGET) == 0.5


async def test_a_failure_counts_as_a_slow_answer(known):
    (await known.begun()).failed(DOWN)

    assert known.load.latency_s(TARGET) == PENALTY_S


@pytest.mark.parametrize(
    ("ends", "is_held_back"),
    [(answered, False), (failed, True), (rejected, False), (given_up, False)],
)
async def test_a_target_that_fails_is_sent_less(known, ends, is_held_back):
    for _ in range(2 * LEAST):
        ends(await known.begun())

    assert (known.throttle.probability(TARGET) > 0) is is_held_back


@pytest.mark.parametrize(
    ("ends", "reason"),
    [(answered, None), (failed, "breaker_open"), (rejected, None), (given_up, None)],
)
async def test_the_probe_of_a_breaker_ends_with_its_call(known, ends, reason):
    known.open_breaker()
    made = await known.begun()
    assert known.breakers.out(TARGET).reason == "probing"

    ends(made)

    out = known.breakers.out(TARGET)
    assert (out and out.reason) == reason


async def test_a_probe_that_answered_closes_the_breaker(known):
    known.open_breaker()

    answered(await known.begun())

    assert known.breakers.are_quiet


@pytest.mark.parametrize("ends", [failed, broke_off])
async def test_failures_before_and_behind_the_first_output_open_a_breaker(known, ends):
    for _ in range(2 * FAILURES_TO_OPEN):
        ends(await known.begun())

    assert not known.breakers.are_quiet


async def test_what_a_failure_says_of_the_key_is_known(known):
    (await known.begun()).failed(errors.UpstreamRateLimited("Slow down.", retry_after=30))

    assert known.keys.out(TARGET).reason == "key_rate_limited"


async def test_after_a_rest_for_lack_of_credit_one_call_shows_whether_there_is_some(known):
    known.out_of_credit()
    made = await known.begun()
    assert known.keys.out(TARGET).reason == WITHOUT_CREDIT

    made.answered(TARGET)

    assert known.keys.out(TARGET) is None


async def test_requests_that_another_provider_served_are_counted_where_they_were_meant_for(known):
    (await known.begun(TARGET)).answered(TARGET)
    (await known.begun(OTHER)).answered(TARGET)

    told = known.traffic.told()["provider-1"]
    assert (told.meant, told.moved) == (2, 1)


@pytest.mark.parametrize("ends", [failed, broke_off])
async def test_how_a_provider_failed_last_is_known(known, ends):
    ends(await known.begun())

    assert known.traffic.told()["provider-1"].last_error == "upstream_unavailable"


async def test_the_attempt_that_failed_is_on_the_bill(known):
    made = await known.begun()
    known.now += 0.25
    made.failed(DOWN)

    (attempt,) = known.bill.tries
    assert (attempt.outcome, attempt.total_ms) == ("upstream_unavailable", 250)
