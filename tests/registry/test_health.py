"""What the admin learns of circuit breakers."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from registry import conditions, health
from tests.factories import make_model, make_provider, make_upstream_key

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _nothing_reported(monkeypatch, settings):
    settings.REDIS_URL = ""
    monkeypatch.setattr(health, "_reports", {})
    monkeypatch.setattr(health, "_elsewhere", {})


def report(state, *, provider="openai", target=(1, 1), at=NOON, reason="upstream_timeout"):
    health.report(target, provider, state, reason, at)


class TestInProcess:
    def test_nothing_is_known_of_breakers_that_were_never_open(self):
        assert health.states() == {}

    @time_machine.travel(NOON, tick=False)
    def test_an_open_breaker_is_seen_with_its_reason(self):
        report("open")

        assert health.states() == {
            "openai": health.ProviderHealth("open", NOON, "upstream_timeout", affected=1)
        }

    def test_a_closed_breaker_is_seen_no_more(self):
        report("open")

        report("closed")

        assert health.states() == {}

    @time_machine.travel(NOON + timedelta(minutes=5), tick=False)
    def test_one_that_opens_again_has_been_open_since_the_first_time(self):
        report("open", at=NOON)
        report("half_open", at=NOON + timedelta(minutes=1))

        report("open", at=NOON + timedelta(minutes=2))

        assert health.states()["openai"].since == NOON

    def test_an_open_one_counts_more_than_one_that_is_tried_again(self):
        report("half_open", target=(1, 1))
        report("open", target=(2, 1))

        assert health.states()["openai"].state == "open"
        assert health.states()["openai"].affected == 2

    def test_a_report_that_is_not_renewed_is_forgotten(self):
        with time_machine.travel(NOON) as clock:
            report("open")
            clock.shift(health.RENEWED_WITHIN)

            assert health.states() == {}


class TestOverRedis:
    @pytest.fixture(autouse=True)
    def _redis(self, redis_server, settings):
        settings.REDIS_URL = redis_server.url()
        health._client(settings.REDIS_URL).delete(health.HASH)

    def seen(self, expected):
        """What another process reads, once the thread that sends has caught up."""
        for _ in range(200):
            states = {name: each.state for name, each in health.states().items()}
            if states == expected:
                break
            time.sleep(0.01)
        return states

    def test_another_process_sees_an_open_breaker(self):
        report("open", at=datetime.now(UTC))

        assert self.seen({"openai": "open"}) == {"openai": "open"}

    def test_another_process_sees_that_it_closed(self):
        report("open", at=datetime.now(UTC))
        self.seen({"openai": "open"})

        report("closed", at=datetime.now(UTC))

        assert self.seen({}) == {}

    def test_instances_do_not_overwrite_each_other(self, monkeypatch):
        report("open", at=datetime.now(UTC))
        self.seen({"openai": "open"})
        monkeypatch.setattr(health, "_instance", lambda: "another-instance")

        report("closed", at=datetime.now(UTC))
        report("open", provider="azure", target=(2, 2), at=datetime.now(UTC))

        both = {"openai": "open", "azure": "open"}
        assert self.seen(both) == both

    def test_what_another_instance_was_told_is_learned(self, monkeypatch):
        until = datetime.now(UTC) + timedelta(seconds=30)
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(health, "_instance", lambda: "another-instance")
            now = datetime.now(UTC)
            health.report((7, 8), "azure", "open", "x", now, until, "rate_limited")
            self.seen({"azure": "open"})

        health.learn()

        known = health.elsewhere((7, 8))
        assert (known.asked_by, 28 < known.left_s() <= 30) == ("rate_limited", True)

    def test_whoever_probes_elsewhere_keeps_others_away_for_a_while(self, monkeypatch):
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(health, "_instance", lambda: "another-instance")
            report("half_open", at=datetime.now(UTC))
            self.seen({"openai": "half_open"})

        health.learn()

        assert 0 < health.elsewhere((1, 1)).left_s() <= health.PROBE_FOR.total_seconds()
        assert not health.is_quiet_elsewhere()

    def test_an_instance_does_not_learn_from_itself(self):
        report("open", at=datetime.now(UTC))
        self.seen({"openai": "open"})

        health.learn()

        assert health.elsewhere((1, 1)) is None
        assert health.is_quiet_elsewhere()

    def test_of_the_failures_of_all_instances_the_last_is_told(self, monkeypatch):
        now = time.time()
        for name, at in (("one", now), ("two", now - 5)):
            monkeypatch.setattr(health, "_instance", lambda name=name: name)
            health.share({"openai": health.Flow(last_error=f"of_{name}", last_error_at=at)})

        assert health.flows()["openai"].last_error == "of_one"

    def test_traffic_is_summed_up_over_instances(self, monkeypatch):
        for name in ("one", "two"):
            monkeypatch.setattr(health, "_instance", lambda name=name: name)
            health.share({"openai": health.Flow(in_flight=2, meant=10, moved=3)})

        assert health.flows() == {"openai": health.Flow(in_flight=4, meant=20, moved=6)}

    def test_what_a_later_version_wrote_is_unknown_rather_than_an_error(self, settings):
        health._client(settings.REDIS_URL).hset(health.HASH, "other:1/1", '{"new": 1}')

        with pytest.raises(health.HealthUnknown):
            health.states()

        assert conditions.breakers() is None


class TestWithoutTheRedisThatIsConfigured:
    @pytest.fixture(autouse=True)
    def _nobody_there(self, settings):
        settings.REDIS_URL = "redis://127.0.0.1:1/0"

    def test_reporting_raises_nothing(self):
        report("open")

    def test_reading_says_that_nothing_is_known(self):
        with pytest.raises(health.HealthUnknown):
            health.states()


@pytest.mark.django_db
class TestConditionOfAProvider:
    def condition(self, provider):
        provider = conditions.providers().get(pk=provider.pk)
        return conditions.provider_condition(provider, conditions.breakers())

    @pytest.fixture
    def provider(self):
        provider = make_provider("openai")
        make_model("m", provider)
        return provider

    def test_healthy_when_nothing_is_amiss(self, provider):
        assert self.condition(provider) == conditions.HEALTHY

    def test_disabled_before_all_else(self, provider):
        provider.enabled = False
        provider.save()
        report("open")

        assert self.condition(provider) == conditions.DISABLED

    def test_unused_without_a_route(self):
        assert self.condition(make_provider()) == conditions.UNUSED

    def test_no_key_where_the_kind_needs_one(self):
        assert self.condition(make_provider(kind="openai", base_url="")) == conditions.NO_KEY

    def test_no_key_when_all_are_switched_off(self, provider):
        make_upstream_key(provider, enabled=False)

        assert self.condition(provider) == conditions.NO_KEY

    def test_no_key_when_none_can_be_opened(self, provider, settings):
        make_upstream_key(provider)
        settings.COURIER_ENCRYPTION_KEYS = ["another"]

        assert self.condition(provider) == conditions.NO_KEY

    def test_not_offered_where_production_has_no_such_kind(self, settings):
        chaos = make_provider(kind="chaos", base_url="")
        settings.PRODUCTION = True

        assert self.condition(chaos) == conditions.NOT_OFFERED

    @time_machine.travel(NOON, tick=False)
    def test_breaker_open_with_the_time_and_the_reason_in_words(self, provider):
        report("open", at=NOON - timedelta(minutes=3))

        condition = self.condition(provider)

        assert condition.word == "breaker open"
        assert condition.detail == "since 11:57 UTC: it did not answer in time"

    def test_recovering_while_it_is_tried_again(self, provider):
        report("half_open")

        assert self.condition(provider).word == "recovering"

    def test_unknown_while_redis_is_away(self, provider, settings):
        settings.REDIS_URL = "redis://127.0.0.1:1/0"

        assert self.condition(provider) == conditions.UNKNOWN


@pytest.mark.django_db
class TestUsableRoute:
    def usable(self, model):
        return conditions.has_usable_route(conditions.models().get(pk=model.pk))

    def test_a_route_to_a_provider_that_can_sign(self):
        assert self.usable(make_model("m", make_provider()))

    def test_no_route(self):
        assert not self.usable(make_model("m"))

    def test_a_route_to_a_disabled_provider(self):
        assert not self.usable(make_model("m", make_provider(enabled=False)))

    def test_a_route_to_a_provider_without_its_key(self):
        assert not self.usable(make_model("m", make_provider(kind="openai", base_url="")))
