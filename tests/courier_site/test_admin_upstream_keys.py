"""Upstream keys in the admin: in what state each is and why, and how to put it back."""

from contextlib import closing
from datetime import timedelta

import pytest
import redis
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from registry import key_health, key_states
from registry.key_figures import Figures
from registry.key_health import Board, Cooling, Gauge, Meter, Place, now_s
from registry.models import Revision, UpstreamKey
from tests.factories import make_provider, make_upstream_key, make_user
from tests.services import free_port

pytestmark = pytest.mark.django_db

LIST = "/admin/registry/upstreamkey/"
SECRET = "sk-never-shown-0123456789"


@pytest.fixture(autouse=True)
def board(monkeypatch, settings):
    settings.REDIS_URL = ""
    fresh = Board()
    monkeypatch.setattr(key_health, "board", fresh)
    return fresh


@pytest.fixture
def key():
    return make_upstream_key(make_provider("alpha"), SECRET, "first")


def page(key):
    return reverse("admin:registry_upstreamkey_change", args=(key.pk,))


def form(key, **changed):
    fields = {"name": key.name, "weight": "1", "enabled": "on", "budget_period": "month"}
    return fields | changed


def refuse(key):
    key.out_since, key.out_reason = timezone.now(), "key_refused"
    key.save()
    return key


def onlooker():
    viewer = make_user(is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_upstreamkey"))
    return viewer


def state(key, board, figures=None):
    told = key_states.condition(key, board, figures)
    return told.word, told.detail


class TestStates:
    def test_one_of_which_nothing_is_known_is_in_use(self, key, board):
        assert state(key, board)[0] == "in use"

    def test_one_that_was_refused_is_out_since_then_and_why(self, key, board):
        word, why = state(refuse(key), board)

        assert word == "out"
        assert f"Since {key.out_since:%H:%M} UTC" in why
        assert "provider refused it" in why

    def test_one_that_rests_tells_how_long(self, key, board):
        place = Place(key.provider_id, key.pk)
        board.cool(place, Cooling(now_s() + 12, "key_rate_limited", now_s()))

        assert state(key, board) == (
            "cooling",
            "The provider asked to wait. Used again in 12 s.",
        )

    def test_a_rest_of_the_secret_before_is_not_of_this_one(self, key, board):
        at = key.changed_at.timestamp() - 5
        board.cool(Place(key.provider_id, key.pk), Cooling(now_s() + 99, "key_refused", at))

        assert state(key, board)[0] == "in use"

    def test_one_without_quota_tells_when_there_is_more(self, key, board):
        meters = {"tokens": Meter(1000, 0, now_s() + 600)}
        board.gauge(Place(key.provider_id, key.pk, "large"), Gauge(now_s(), meters))

        assert state(key, board) == (
            "quota used up",
            "No tokens left for large. Used again in 10 min.",
        )

    def test_one_whose_budget_is_used_up_tells_until_when(self, key, board):
        key.budget = 10
        word, why = state(key, board, Figures(10_000_000_000, timezone.now(), None))

        assert word == "budget used up"
        assert "UTC" in why

    def test_the_quota_left_is_told_with_its_forecast(self, key, board):
        meters = {"tokens": Meter(1000, 370, now_s() + 300, 10.0), "requests": Meter(10, 9, None)}
        board.gauge(Place(key.provider_id, key.pk, "large"), Gauge(now_s(), meters))

        first, second = key_states.quota(key, board)
        assert first.startswith("37% of tokens left until ")
        assert first.endswith("(large); at this pace used up in 37 s")
        assert second == "90% of requests left (large)"

    def test_the_budget_is_told_with_its_forecast(self, key):
        key.budget = 10
        ends = timezone.now().replace(year=2026, month=11, day=27, hour=8, minute=0)

        told = key_states.budget(key, Figures(8_000_000_000, None, ends))

        assert told == (
            "$8.00 of $10.00 used this month (80%), ends about Friday, 27 November, 08:00 UTC"
        )

    def test_what_cannot_be_known_is_said_so(self, key):
        assert state(key, None)[0] == "unknown"


class TestPages:
    def test_the_list_tells_the_state_of_each_key_and_no_secret(self, browser, key):
        refuse(key)

        shown = browser.get(LIST).content.decode()

        assert "the provider refused it" in shown
        assert SECRET not in shown
        assert key.sealed_secret not in shown

    def test_a_key_has_limits_models_and_a_budget(self, browser, key):
        answer = browser.post(
            page(key),
            form(
                key,
                allowed_models="gpt-4o*, o3",
                requests_per_minute="600",
                tokens_per_minute="200000",
                concurrency="20",
                budget="500",
                budget_period="day",
            ),
        )

        key.refresh_from_db()
        assert answer.status_code == 302
        assert key.allowed_models == ["gpt-4o*", "o3"]
        assert (key.requests_per_minute, key.concurrency, key.budget_period) == (600, 20, "day")
        assert key.secret == SECRET

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("allowed_models", "with space"),
            ("requests_per_minute", "0"),
            ("tokens_per_minute", "-1"),
            ("concurrency", "many"),
            ("budget", "-1"),
            ("budget_period", "year"),
            ("new_secret", "with space"),
            ("new_secret", "umläut"),
            ("new_secret", "k" * 4097),
        ],
    )
    def test_what_cannot_be_is_said_at_its_field(self, browser, key, field, value):
        answer = browser.post(page(key), form(key, **{field: value}))

        assert list(answer.context["adminform"].form.errors) == [field]

    def test_a_new_secret_puts_a_key_back(self, browser, key):
        refuse(key)
        browser.post(page(key), form(key, new_secret="sk-another-0123456789"))

        key.refresh_from_db()
        assert (key.secret, key.out_since) == ("sk-another-0123456789", None)

    def test_a_key_is_put_back(self, browser, key, board):
        refuse(key)
        place = Place(key.provider_id, key.pk)
        board.cool(place, Cooling(now_s() + 99, "key_refused", now_s()))
        revision = Revision.objects.get().number

        browser.post(LIST, {"action": "put_back", "_selected_action": [key.pk]})

        key.refresh_from_db()
        assert (key.out_since, key.out_reason) == (None, "")
        assert board.coolings[place].until == 0
        assert Revision.objects.get().number > revision

    def test_who_put_a_key_back_or_took_it_out_is_on_record(self, browser, key):
        for action in ("take_out", "put_back"):
            browser.post(LIST, {"action": action, "_selected_action": [key.pk]})

        told = LogEntry.objects.filter(object_id=key.pk).order_by("pk")
        assert [each.change_message for each in told] == ["Taken out.", "Put back."]

    @pytest.mark.parametrize("action", ["take_out", "put_back"])
    def test_of_a_key_that_is_put_back_or_taken_out_nothing_else_is_written(
        self, browser, key, action
    ):
        if action == "put_back":
            refuse(key)
        with CaptureQueriesContext(connection) as queries:
            browser.post(LIST, {"action": action, "_selected_action": [key.pk]})

        written = [
            each["sql"]
            for each in queries
            if each["sql"].startswith('UPDATE "registry_upstreamkey"')
        ]
        assert len(written) == 1
        assert "sealed_secret" not in written[0]

    def test_why_a_key_was_out_before_stays(self, browser, key):
        out_since = refuse(key).out_since
        browser.post(LIST, {"action": "take_out", "_selected_action": [key.pk]})

        key.refresh_from_db()
        assert (key.out_since, key.out_reason) == (out_since, "key_refused")

    def test_a_key_that_instances_cannot_be_told_of_is_put_back_with_a_warning(
        self, browser, key, settings
    ):
        settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
        answer = browser.post(LIST, {"action": "put_back", "_selected_action": [refuse(key).pk]})

        key.refresh_from_db()
        assert key.out_since is None
        assert "Redis does not answer" in " ".join(map(str, get_messages(answer.wsgi_request)))

    @pytest.mark.parametrize("action", ["take_out", "put_back"])
    def test_who_may_only_look_takes_no_key_out_and_puts_none_back(self, client, key, action):
        if action == "put_back":
            refuse(key)
        before = key.out_since
        client.force_login(onlooker())
        client.post(LIST, {"action": action, "_selected_action": [key.pk]})

        key.refresh_from_db()
        assert key.out_since == before

    def test_a_secret_that_was_entered_is_not_shown_with_a_mistake_elsewhere(self, browser, key):
        typed = "sk-typed-a-moment-ago"
        shown = browser.post(page(key), form(key, new_secret=typed, budget="-1")).content.decode()

        assert "stored; leave empty to keep" in shown
        assert typed not in shown

    def test_a_key_leads_back_to_the_list(self, browser, key):
        assert browser.post(page(key), form(key)).url == LIST

    def test_models_are_shown_as_they_are_entered(self, browser, key):
        UpstreamKey.objects.update(allowed_models=["gpt-4o*", "o3"])

        assert 'value="gpt-4o*, o3"' in browser.get(page(key)).content.decode()

    def test_what_a_provider_has_told_is_shown_as_text(self, browser, key, board):
        meters = {"<b>": Meter(1000, 0, now_s() + 600)}
        board.gauge(Place(key.provider_id, key.pk, "<i>"), Gauge(now_s(), meters))

        shown = browser.get(LIST).content.decode()

        assert "No &lt;b&gt; left for &lt;i&gt;." in shown
        assert "No <b> left" not in shown
        assert "0% of &lt;b&gt; left" in shown

    def test_redis_is_asked_once_for_all_keys(self, browser, key, settings, redis_server):
        settings.REDIS_URL = redis_server.url(9)
        for name in ("second", "third"):
            make_upstream_key(key.provider, SECRET, name)
        with closing(redis.Redis.from_url(redis_server.url())) as operator:
            operator.config_resetstat()
            browser.get(LIST)
            assert operator.info("commandstats")["cmdstat_hgetall"]["calls"] == 1

    def test_keys_are_entered_and_deleted_at_their_provider_only(self, browser, key):
        assert browser.get(f"{LIST}add/").status_code == 403
        assert browser.post(f"{LIST}{key.pk}/delete/", {"post": "yes"}).status_code == 403

    def test_a_key_is_taken_out(self, browser, key):
        browser.post(LIST, {"action": "take_out", "_selected_action": [key.pk]})

        key.refresh_from_db()
        assert key.out_reason == "key_taken_out"
        assert "administrator took it out" in browser.get(page(key)).content.decode()

    def test_keys_of_a_manifest_can_be_read_and_put_back_only(self, browser, key):
        key.provider.managed_by = "courier.yaml"
        key.provider.save()
        refuse(key)

        assert "new_secret" not in browser.get(page(key)).content.decode()
        browser.post(LIST, {"action": "put_back", "_selected_action": [key.pk]})
        assert UpstreamKey.objects.get().out_since is None

    def test_who_may_only_look_sees_no_actions_and_no_secret(self, client, key):
        client.force_login(onlooker())

        shown = client.get(page(key))

        assert shown.status_code == 200
        assert "new secret" not in shown.content.decode().lower().replace("_", " ")

    def test_the_providers_page_leads_to_its_keys(self, browser, key):
        shown = browser.get(
            reverse("admin:registry_provider_change", args=(key.provider_id,))
        ).content.decode()

        assert page(key) in shown

    def test_the_front_page_tells_of_a_key_that_is_out(self, browser, key):
        refuse(key)

        assert "alpha / first" in browser.get("/admin/").content.decode()

    def test_a_provider_whose_keys_are_all_out_says_so(self, browser, key):
        refuse(key)

        assert "keys out" in browser.get("/admin/registry/provider/").content.decode()

    def test_what_is_spent_is_read_from_the_ledger(self, browser, key):
        key.budget = 5
        key.save()

        assert "$0.00 of $5.00 used this month (0%)" in browser.get(LIST).content.decode()
        assert timezone.now() - key.created_at < timedelta(minutes=5)
