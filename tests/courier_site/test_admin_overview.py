"""The front page: what it says, to whom, and at what price."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from courier_site.overview import DAYS, NAMED, TOP, overview
from registry import health
from registry.models import Provider
from tests.courier_site.rows import make_attempt, make_day, make_reconciliation, make_record
from tests.factories import (
    make_key,
    make_model,
    make_price,
    make_provider,
    make_route,
    make_user,
)
from tests.services import free_port
from tests.usage.spools import make_record as spooled
from usage.frames import CLOSE, framed
from usage.models import QuarantinedRecord, SpoolCursor
from usage.records import encoded

pytestmark = pytest.mark.django_db

START = "/admin/"


@pytest.fixture(autouse=True)
def _own_spool(settings, tmp_path):
    settings.SPOOL_DIR = tmp_path / "spool"


@pytest.fixture
def key(db):
    return make_key(name="notebook")


def seen(permissions=None):
    """The page of someone with these permissions; of an administrator if none are named."""
    return overview(lambda name: permissions is None or name in permissions)


class TestToday:
    def test_adds_up_what_was_recorded_today(self, key):
        make_record(key, input_tokens=100, output_tokens=20, cost_nano=1_000)
        make_record(
            key, input_tokens=50, output_tokens=0, cost_nano=None, outcome="upstream_timeout"
        )

        today = seen().today

        assert (today.requests, today.errors, today.unpriced) == (2, 1, 1)
        assert (today.input_tokens, today.output_tokens, today.cost_nano) == (150, 20, 1_000)

    def test_leaves_yesterday_out(self, key):
        make_record(key, at=datetime.now(UTC) - timedelta(days=1))

        assert seen().today.requests == 0

    def test_is_shown(self, browser, key):
        make_record(key, input_tokens=1_234_567, cost_nano=12_340_000_000)

        shown = browser.get(START).text

        assert "1.2M" in shown
        assert "$12.34" in shown

    def test_tells_how_many_requests_have_an_unknown_cost(self, browser, key):
        make_record(key, cost_nano=None)

        assert "without 1 of unknown price" in browser.get(START).text

    def test_tells_what_rests_on_estimates_and_what_was_wasted(self, browser, key):
        make_record(key, cost_nano=3_000_000_000)
        make_record(key, cost_nano=1_000_000_000, usage_source="estimated")
        make_attempt(make_record(key, cost_nano=0), received=False, cost_nano=2_500_000_000)

        page = browser.get("/admin/").content.decode()

        assert "25.0%" in page
        assert "$2.50" in page

    def test_without_any_request_is_no_error(self, browser):
        assert "0% of all requests" in browser.get(START).text


class TestTop:
    def test_models_come_by_their_requests(self, key):
        for name, number in (("rare", 1), ("often", 3), ("now and then", 2)):
            for _ in range(number):
                make_record(key, model_served=name)

        assert [name for name, _ in seen().models] == ["often", "now and then", "rare"]

    def test_no_more_are_named_than_fit(self, key):
        for number in range(TOP + 3):
            make_record(key, model_served=f"model-{number}")

        assert len(seen().models) == TOP

    def test_keys_have_their_own_sums(self, key):
        other = make_key(name="robot")
        make_record(key, cost_nano=5)
        make_record(key, cost_nano=6)
        make_record(other, cost_nano=7)

        assert {name: sums.cost_nano for name, sums in seen().keys} == {"notebook": 11, "robot": 7}

    def test_two_keys_of_one_name_are_not_added_up(self, key):
        make_record(key)
        make_record(make_key(name="notebook"))

        assert [sums.requests for _, sums in seen().keys] == [1, 1]


class TestCharts:
    def test_have_a_bar_for_each_day_with_today_at_the_end(self, key):
        today = datetime.now(UTC).date()
        make_day(key, today - timedelta(days=1), requests=7, errors=2)
        make_day(key, today - timedelta(days=DAYS), requests=99)
        make_record(key)

        chart = json.loads(seen().days["requests"])

        answered, failed = (dataset["data"] for dataset in chart["datasets"])
        assert answered == [0] * (DAYS - 2) + [5, 1]
        assert failed == [0] * (DAYS - 2) + [2, 0]
        assert len(chart["labels"]) == DAYS

    def test_show_dollars(self, key):
        make_record(key, cost_nano=2_500_000_000)

        chart = json.loads(seen().days["cost"])

        assert chart["datasets"][0]["data"][-1] == 2.5


class TestProviders:
    def test_each_has_its_state_and_its_attempts_of_today(self, key):
        make_model("m", make_provider("openai"))
        make_attempt(make_record(key), outcome="ok")
        make_attempt(make_record(key), outcome="client_disconnected")
        make_attempt(make_record(key), outcome="upstream_timeout")

        (line,) = seen().providers

        assert line.condition.word == "healthy"
        assert (line.today.attempts, line.today.failed) == (3, 1)

    def test_failures_count_although_another_provider_has_answered(self, key):
        make_model("m", make_provider("first"), make_provider("second"))
        for _ in range(3):
            record = make_record(key, provider_name="second", attempts=2)
            make_attempt(record, provider_name="first", received=False)
            make_attempt(record, number=2, provider_name="second", outcome="ok")

        first, second = seen().providers

        assert (first.today.attempts, first.today.failed, first.is_bad) == (3, 3, True)
        assert (second.today.attempts, second.today.failed, second.is_bad) == (3, 0, False)

    def test_those_in_trouble_come_first(self):
        make_model("m", make_provider("a-healthy"), make_provider("b-off", enabled=False))
        make_provider("c-without-key", kind="openai", base_url="")

        names = [line.provider.name for line in seen().providers]

        assert names == ["c-without-key", "a-healthy", "b-off"]

    def test_an_open_breaker_is_shown(self, browser, settings, monkeypatch):
        settings.REDIS_URL = ""
        monkeypatch.setattr(health, "_reports", {})
        make_model("m", make_provider("openai"))
        health.report((1, None), "openai", "open", "upstream_timeout", datetime.now(UTC))

        assert "breaker open" in browser.get(START).text


class TestAttention:
    def texts(self, permissions=None):
        return [item.text for item in seen(permissions).attention]

    @pytest.fixture
    def in_order(self, key):
        make_price(make_model("fine", make_provider()))

    def test_is_not_asked_for_when_all_is_well(self, browser, in_order):
        assert self.texts() == []
        assert "All is well." in browser.get(START).text

    def test_not_all_is_well_while_one_is_out(self, browser, in_order, settings, monkeypatch):
        settings.REDIS_URL = ""
        monkeypatch.setattr(health, "_reports", {})
        name = Provider.objects.get().name
        health.report((1, None), name, "open", "upstream_timeout", datetime.now(UTC))

        assert "All is well." not in browser.get(START).text

    def test_a_model_without_a_price(self, in_order):
        make_model("costly", make_provider(), priced=False)

        assert self.texts() == ["Model “costly” has no price."]

    def test_a_model_without_a_usable_route(self, in_order):
        make_price(make_model("lost", make_provider(enabled=False)))

        assert self.texts() == ["Model “lost” has no usable route."]

    def test_a_disabled_model_needs_neither(self, in_order):
        make_model("off", enabled=False)

        assert self.texts() == []

    def test_many_models_are_counted(self, in_order):
        for number in range(NAMED + 2):
            make_price(make_model(f"lost-{number}"))

        assert self.texts()[-1] == "The same of 2 more: has no usable route."

    def test_records_in_quarantine(self, in_order):
        QuarantinedRecord.objects.create(raw=b"{", reason="The record is no JSON.")

        assert self.texts() == ["1 usage record is in quarantine."]

    def test_sums_that_differ_from_the_log(self, in_order):
        make_reconciliation(differs=True)

        assert "Run manage.py reconcile --fix." in self.texts()[0]

    def test_sums_that_were_made_anew(self, in_order):
        make_reconciliation(differs=True, fixed=True)

        assert "were made anew" in self.texts()[0]

    @pytest.mark.parametrize(
        "since", [{"differs": False}, {"differs": True, "at": timezone.now() - timedelta(days=2)}]
    )
    def test_sums_that_agree_again_need_none(self, in_order, since):
        make_reconciliation(differs=True, at=timezone.now() - timedelta(days=2))
        make_reconciliation(**since)

        assert self.texts() == []

    def test_the_last_comparison_is_told_with_its_time(self, browser, db):
        make_reconciliation(differs=False, at=datetime(2026, 11, 16, 7, 5, tzinfo=UTC))

        page = " ".join(browser.get("/admin/").content.decode().split())

        assert "last compared at 2026-11-16 07:05 UTC: they agree." in page

    def test_the_first_steps_of_a_new_installation(self, db):
        assert self.texts() == [
            "No model yet: add the first.",
            "No provider yet: add the first.",
            "No API key yet: issue the first.",
        ]

    def test_a_model_whose_routes_all_wait_for_a_certification(self, db, key):
        model = make_model("held", make_provider())
        make_price(model)
        model.routes.update(requires_certified=["tools"])

        held = "Model “held” is not served: no route is certified for what it demands."
        assert held in self.texts()

    def test_a_model_with_another_route_is_served(self, db, key):
        model = make_model("held", make_provider())
        make_price(model)
        model.routes.update(requires_certified=["tools"])
        make_route(model, make_provider("second"))

        assert not any("held" in text for text in self.texts())

    def test_every_item_leads_to_a_page(self, browser, db):
        make_model("lost", priced=False)
        QuarantinedRecord.objects.create(raw=b"{", reason="The record is no JSON.")

        links = [item.link for item in seen().attention]

        assert len(links) == 5
        assert {browser.get(link).status_code for link in links} == {200}


class TestSpool:
    @pytest.fixture
    def segment(self, settings, key):
        make_price(make_model("fine", make_provider()))
        path = settings.SPOOL_DIR / "0" / f"00000001-{uuid4()}.spool"
        path.parent.mkdir(parents=True)
        return path

    def fill(self, path, seconds_ago):
        """With the record of a request that ended so long ago."""
        started_at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        record = spooled(started_at=started_at, total_ms=0)
        path.write_bytes(framed(encoded(CLOSE, record)))

    def test_records_that_do_not_reach_the_database_are_reported(self, segment):
        self.fill(segment, 10)

        (item,) = seen().attention

        assert f"{segment.stat().st_size}" in item.text
        assert "ship_spool" in item.text

    def test_those_that_are_on_their_way_are_not(self, segment):
        self.fill(segment, 0)

        assert seen().attention == []

    def test_those_that_have_arrived_are_not(self, segment):
        self.fill(segment, 120)
        name = Path(segment).stem.partition("-")[2]
        SpoolCursor.objects.create(segment=name, position=segment.stat().st_size)

        assert seen().attention == []


def test_a_redis_that_does_not_answer_is_reported(key, settings):
    make_price(make_model("fine", make_provider()))
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"

    (item,) = seen().attention

    assert item.text.startswith("Redis does not answer: rate limits count by share")


class TestWhoSeesWhat:
    def test_no_figures_without_the_right_to_see_requests(self, key):
        make_record(key)

        page = seen({"registry.view_provider"})

        assert (page.today, page.days, page.models, page.keys) == (None, None, None, None)
        assert page.providers is not None

    def test_no_providers_without_the_right_to_see_them(self):
        make_provider()

        assert seen({"usage.view_usagerecord"}).providers is None

    def test_no_keys_without_the_right_to_see_them(self, key):
        make_record(key)

        assert seen({"usage.view_usagerecord"}).keys is None

    def test_no_days_without_the_right_to_see_them(self, key):
        assert seen({"usage.view_usagerecord"}).days is None

    def test_nothing_to_attend_to_that_one_may_not_see(self):
        make_model("lost", priced=False)
        QuarantinedRecord.objects.create(raw=b"{", reason="The record is no JSON.")

        assert seen(set()).attention == []

    def test_a_person_with_no_rights_sees_a_page_without_names(self, client, key):
        make_model("secret-model", make_provider("secret-provider"))
        make_record(key, model_served="secret-model")
        client.force_login(make_user("staff", is_staff=True))

        answer = client.get(START)

        assert answer.status_code == 200
        assert "secret-" not in answer.text
        assert "notebook" not in answer.text

    def test_someone_who_may_see_providers_only_sees_their_states(self, client, key):
        make_model("m", make_provider("openai"))
        make_record(key, provider_name="openai")
        viewer = make_user("viewer", is_staff=True)
        viewer.user_permissions.set(Permission.objects.filter(codename="view_provider"))
        client.force_login(viewer)

        shown = client.get(START).text

        assert "healthy" in shown
        assert "Requests today" not in shown


def test_the_front_page_costs_as_many_queries_for_much_as_for_little(
    browser, django_assert_max_num_queries, django_assert_num_queries
):
    fill(2)
    with django_assert_max_num_queries(30) as few:
        browser.get(START)
    fill(20)

    with django_assert_num_queries(len(few.captured_queries)):
        browser.get(START)


def fill(number):
    for each in range(number):
        key, provider = make_key(), make_provider()
        make_price(make_model(None, provider, make_provider(kind="openai", base_url="")))
        make_record(key, provider_name=provider.name, model_served=f"m-{each}")
        make_day(key, datetime.now(UTC).date() - timedelta(days=1 + each % 5))


def test_the_front_page_is_the_admin_s_index():
    assert reverse("admin:index") == START
