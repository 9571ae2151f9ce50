"""Past periods priced anew, in the admin."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from tests.courier_site.rows import make_day, make_record
from tests.factories import make_key, make_model, make_price, make_user
from usage import rerating, tasks
from usage.models import RerateRun, UsageAdjustment

pytestmark = pytest.mark.django_db

LIST = "/admin/usage/reraterun/"
ADD = f"{LIST}add/"
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
PERIOD = {"first_day": "2026-11-10", "last_day": "2026-11-10"}


@pytest.fixture
def price():
    since = datetime(2026, 1, 1, tzinfo=UTC)
    return make_price(make_model("gpt-4o", priced=False), input="1", output="0", starts_at=since)


@pytest.fixture
def key(price):
    key = make_key()
    make_record(key, at=NOON, input_tokens=1_000_000, cost_nano=3 * 10**9)
    return key


@pytest.fixture
def ready(key):
    """A run that was calculated."""
    run = RerateRun.objects.create(first_day=date(2026, 11, 10), last_day=date(2026, 11, 10))
    rerating.calculate(run)
    return run


def page_of(run):
    return reverse("admin:usage_reraterun_change", args=(run.pk,))


def approval_of(run):
    return reverse("admin:usage_reraterun_approve_one", args=(run.pk,))


class TestANewOne:
    def test_waits_to_be_calculated_and_writes_nothing(self, browser, key):
        browser.post(ADD, PERIOD)

        run = RerateRun.objects.get()
        assert (run.state, run.made_by) == ("waiting", "root")
        assert not UsageAdjustment.objects.exists()

    def test_is_calculated_by_the_worker(self, browser, key):
        browser.post(ADD, PERIOD)

        tasks.rerate(rerating.take_up()[0])

        assert RerateRun.objects.get().state == "ready"

    @pytest.mark.parametrize(
        "changed",
        [
            {"last_day": "2026-11-09"},
            {"last_day": (timezone.now() + timedelta(days=2)).date().isoformat()},
        ],
    )
    def test_of_days_that_make_no_sense_is_refused(self, browser, changed):
        answer = browser.post(ADD, PERIOD | changed)

        assert "last_day" in answer.context["adminform"].form.errors

    def test_of_a_model_that_never_was_is_refused(self, browser, key):
        page = browser.post(ADD, PERIOD | {"model": "gpt-4oo"})

        assert "There is no model “gpt-4oo”" in page.text
        assert not RerateRun.objects.exists()

    def test_of_a_model_that_is_served_no_more_is_taken(self, browser, key):
        make_day(key, NOON.date(), model="of-old")

        browser.post(ADD, PERIOD | {"model": "of-old"})

        assert RerateRun.objects.get().model == "of-old"

    def test_is_for_those_who_may_add_one(self, client):
        person = make_user(is_staff=True)
        person.user_permissions.add(Permission.objects.get(codename="view_reraterun"))
        client.force_login(person)

        assert client.post(ADD, PERIOD).status_code == 403


class TestOneThatIsCalculated:
    def test_shows_the_difference_by_team(self, browser, key, ready):
        shown = browser.get(page_of(ready)).text

        assert key.team.name in shown
        assert "−$2.00" in shown
        assert "1 of 1" in shown

    def test_is_asked_about_before_it_is_approved(self, browser, ready):
        shown = browser.post(approval_of(ready)).text

        assert "-$2.000000000" in shown
        ready.refresh_from_db()
        assert ready.state == "ready"

    def test_is_written_once_it_is_approved(self, browser, ready):
        browser.post(approval_of(ready), {"confirmed": "yes", "seen": ready.tariff})

        tasks.rerate(rerating.take_up()[0])

        adjustment = UsageAdjustment.objects.get()
        assert (adjustment.cost_nano, adjustment.made_by) == (-2 * 10**9, "root")

    def test_is_not_approved_once_prices_have_changed(self, browser, ready, price):
        price.input = Decimal(7)
        price.save()

        sent = {"confirmed": "yes", "seen": ready.tariff}
        answer = browser.post(approval_of(ready), sent, follow=True)

        assert "have changed" in answer.text

    def test_is_not_approved_by_those_who_may_only_look(self, client, ready):
        person = make_user(is_staff=True)
        person.user_permissions.add(Permission.objects.get(codename="view_reraterun"))
        client.force_login(person)

        client.post(approval_of(ready), {"confirmed": "yes", "seen": ready.tariff})

        ready.refresh_from_db()
        assert ready.state == "ready"

    def test_cannot_be_changed_or_deleted(self, browser, ready):
        delete = reverse("admin:usage_reraterun_delete", args=(ready.pk,))

        assert browser.post(page_of(ready), PERIOD).status_code == 403
        assert browser.post(delete, {"post": "yes"}).status_code == 403
