"""Budgets in the admin: what counts, in which window, and for how long they are raised."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from accounts.models import Budget, BudgetRaise
from tests.accounts.test_admin import a_budget, admin_client, rows, scoped, staff, text_of
from tests.factories import make_team

__all__ = ["admin_client"]

pytestmark = pytest.mark.django_db
LIST = "admin:accounts_budget_changelist"
RAISING = ("view_budget", "add_budgetraise")


@pytest.fixture
def budget():
    return Budget.objects.create(team=make_team("research"), amount=100)


def page_of(budget):
    return reverse("admin:accounts_budget_change", args=[budget.pk])


def add(client, **fields):
    data = scoped(team=make_team().pk, **a_budget(**fields))
    return client.post(reverse("admin:accounts_budget_add"), data)


def change(client, budget, **fields):
    data = scoped(team=budget.team_id, **a_budget(**{"counting": "", **fields}))
    return client.post(page_of(budget), {**data, **rows("raises")})


@pytest.mark.parametrize("window", ["calendar", "rolling"])
def test_a_budget_has_a_window(admin_client, window):
    add(admin_client, window=window)
    assert Budget.objects.get().window == window


def test_a_budget_that_is_given_once_does_not_roll(admin_client):
    page = text_of(add(admin_client, period="total", window="rolling"))
    assert "A budget that is given once has no rolling window." in page


def test_a_new_budget_asks_whether_what_was_spent_counts(admin_client):
    page = text_of(add(admin_client, counting=""))
    assert "Choose whether what was spent already counts." in page
    assert not Budget.objects.exists()


def test_what_was_spent_already_counts_if_that_was_chosen(admin_client):
    add(admin_client, counting="all")
    assert Budget.objects.get().counts_from is None


def test_what_was_spent_already_does_not_count_if_that_was_chosen(admin_client):
    before = timezone.now()
    add(admin_client, counting="now")
    assert before <= Budget.objects.get().counts_from <= timezone.now()


@pytest.mark.parametrize("changed", [{"period": "day"}, {"window": "rolling"}])
def test_another_period_or_window_asks_again(admin_client, budget, changed):
    page = text_of(change(admin_client, budget, **changed))
    assert "Choose whether what was spent already counts." in page
    assert change(admin_client, budget, **changed, counting="all").status_code == 302


def test_another_amount_leaves_what_counts_as_it_was(admin_client, budget):
    moment = timezone.now() - timedelta(days=1)
    Budget.objects.update(counts_from=moment)
    assert change(admin_client, budget, amount="120").status_code == 302
    budget.refresh_from_db()
    assert (budget.amount, budget.counts_from) == (120, moment)


def test_the_form_says_from_when_on_spending_counts(admin_client, budget):
    Budget.objects.update(counts_from=timezone.now().replace(year=2025, month=3, day=4))
    assert "As it is: from 2025-03-04" in text_of(admin_client.get(page_of(budget)))


def test_a_budget_above_what_can_be_counted_is_refused_in_words(admin_client):
    page = text_of(add(admin_client, amount="9000000.01"))
    assert "A budget is at most $9,000,000." in page


@pytest.mark.parametrize(
    ("entered", "kept"), [("50, 80,100", [50, 80, 100]), ("90 %, 10%, 90", [10, 90]), ("", [])]
)
def test_thresholds_are_percentages_with_commas(admin_client, entered, kept):
    add(admin_client, thresholds=entered)
    assert Budget.objects.get().thresholds == kept


@pytest.mark.parametrize("entered", ["half", "0", "1001", "5.5", "-1", "²"])
def test_other_thresholds_are_refused_in_words(admin_client, entered):
    page = text_of(add(admin_client, thresholds=entered))
    assert "Enter whole percentages from 1 to 1000, separated by commas." in page


def test_a_second_budget_of_one_kind_is_refused_in_words(admin_client, budget):
    data = scoped(team=budget.team_id, **a_budget())
    page = text_of(admin_client.post(reverse("admin:accounts_budget_add"), data))
    assert "There is already a budget for this period and window." in page


def test_a_calendar_and_a_rolling_budget_hold_side_by_side(admin_client, budget):
    data = scoped(team=budget.team_id, **a_budget(window="rolling"))
    assert admin_client.post(reverse("admin:accounts_budget_add"), data).status_code == 302


def a_raise(hours=1, **fields):
    until = timezone.now() + timedelta(hours=hours)
    moment = {"until_0": f"{until:%Y-%m-%d}", "until_1": f"{until:%H:%M:%S}"}
    return {"amount": "50", "reason": "a launch", **moment, **fields}


def raise_one(client, budget, seen=0, **fields):
    url = reverse("admin:accounts_budget_raise_one", args=[budget.pk])
    data = {"confirmed": "yes", "seen": f"{budget.pk}:{seen}", **a_raise(**fields)}
    return client.post(url, data)


def test_raising_asks_how_much_until_when_and_why(admin_client, budget):
    page = text_of(admin_client.get(reverse("admin:accounts_budget_raise_one", args=[budget.pk])))
    assert "Raise this budget?" in page
    assert all(f'name="{name}"' in page for name in ("amount", "until_0", "until_1", "reason"))
    assert not BudgetRaise.objects.exists()


def test_a_raise_tells_who_granted_it(admin_client, budget):
    assert raise_one(admin_client, budget).status_code == 302
    raised = BudgetRaise.objects.get()
    assert (raised.amount, raised.reason, raised.granted_by.username) == (50, "a launch", "root")


def test_a_raise_is_logged_with_what_was_and_what_is(admin_client, budget):
    raise_one(admin_client, budget)
    assert LogEntry.objects.get().change_message.startswith("Raised from $100 to $150 until ")


def test_several_budgets_are_raised_at_once(admin_client, budget):
    other = Budget.objects.create(team=make_team(), amount=1)
    both = [budget.pk, other.pk]
    data = {"action": "raise_them", "_selected_action": both, "confirmed": "yes", **a_raise()}
    data["seen"] = [f"{pk}:0" for pk in both]
    assert admin_client.post(reverse(LIST), data).status_code == 302
    assert BudgetRaise.objects.count() == 2


def test_a_page_that_is_sent_twice_raises_once(admin_client, budget):
    raise_one(admin_client, budget)
    raise_one(admin_client, budget)
    assert BudgetRaise.objects.count() == 1


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"hours": -1}, "This moment has passed."),
        ({"amount": "0"}, "Enter more than nothing."),
        ({"amount": "8999999"}, "a budget is at most $9,000,000."),
        ({"reason": ""}, "This field is required."),
    ],
)
def test_a_raise_that_cannot_be_is_told_at_the_field(admin_client, budget, wrong, complaint):
    assert complaint in text_of(raise_one(admin_client, budget, **wrong))
    assert not BudgetRaise.objects.exists()


def test_a_raise_that_has_ended_stays_visible(admin_client, budget):
    raise_one(admin_client, budget)
    url = reverse("admin:accounts_budget_end_raises", args=[budget.pk])
    assert "End the raises of this budget?" in text_of(admin_client.get(url))
    admin_client.post(url, {"confirmed": "yes"})
    page = text_of(admin_client.get(page_of(budget)))
    assert "a launch" in page
    assert "ended" in page


def test_the_history_of_raises_cannot_be_rewritten(admin_client, budget):
    raise_one(admin_client, budget)
    raised = BudgetRaise.objects.get()
    forged = {"id": raised.pk, "budget": budget.pk, "amount": "9999", "DELETE": "on"}
    data = {
        **scoped(team=budget.team_id, **a_budget(counting="")),
        **rows("raises", forged, saved=1),
    }
    admin_client.post(page_of(budget), data)
    assert BudgetRaise.objects.get().amount == 50


def test_a_raise_cannot_be_smuggled_into_the_form_of_its_budget(client, budget):
    staff(client, "view_budget", "change_budget")
    later = timezone.now() + timedelta(days=1)
    forged = {
        "amount": "9999",
        "reason": "x",
        "ends_at_0": f"{later:%Y-%m-%d}",
        "ends_at_1": "00:00",
    }
    data = {**scoped(team=budget.team_id, **a_budget(counting="")), **rows("raises", forged)}
    client.post(page_of(budget), data)
    assert not BudgetRaise.objects.exists()


@pytest.mark.parametrize("permissions", [(), ("view_budget",), ("view_budget", "change_budget")])
def test_who_may_not_raise_is_refused(client, budget, permissions):
    staff(client, *permissions)
    assert raise_one(client, budget).status_code == 403
    url = reverse("admin:accounts_budget_end_raises", args=[budget.pk])
    assert client.post(url, {"confirmed": "yes"}).status_code == 403
    data = {"action": "raise_them", "_selected_action": [budget.pk], "confirmed": "yes"}
    client.post(reverse(LIST), {**data, "seen": f"{budget.pk}:0", **a_raise()})
    assert not BudgetRaise.objects.exists()


def test_who_may_raise_need_not_be_able_to_change(client, budget):
    staff(client, *RAISING)
    assert raise_one(client, budget).status_code == 302
    assert BudgetRaise.objects.exists()


def test_a_budget_of_a_manifest_can_be_raised(admin_client, budget):
    budget.team.managed_by = "production.yaml"
    budget.team.save()
    assert raise_one(admin_client, budget).status_code == 302
    assert BudgetRaise.objects.exists()


def test_the_list_tells_by_how_much_a_budget_is_raised(admin_client, budget):
    raise_one(admin_client, budget)
    assert "$50" in text_of(admin_client.get(reverse(LIST)))


def test_who_may_only_look_sees_what_counts(client, budget):
    staff(client, "view_budget")
    assert "all of the period" in text_of(client.get(page_of(budget)))


def test_an_amount_is_shown_as_people_write_it(admin_client):
    budget = Budget.objects.create(team=make_team(), amount="2.500000")

    form = admin_client.get(page_of(budget)).context_data["adminform"].form

    assert str(form["amount"].value()) == "2.5"


def test_a_raise_is_told_with_what_was_raised(admin_client, budget):
    raise_one(admin_client, budget)

    assert "Raised: $100 per month for research." in text_of(admin_client.get(page_of(budget)))


def test_those_who_may_only_look_read_the_figures_in_words(client, budget):
    staff(client, "view_budget")

    page = text_of(client.get(page_of(budget)))

    assert "$100" in page
    assert "50 %, 80 %, 100 %" in page


def test_the_form_says_that_a_budget_is_for_one_of_four(admin_client):
    page = text_of(admin_client.get(reverse("admin:accounts_budget_add")))

    assert "Choose one of the four." in page
