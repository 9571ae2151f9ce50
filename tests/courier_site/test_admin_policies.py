"""Routing policies in the admin: every condition and action in a field of its own."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages

from registry.models import RoutingPolicy
from tests.factories import make_policy, make_provider, make_user

pytestmark = pytest.mark.django_db

ADD = "/admin/registry/routingpolicy/add/"
LIST = "/admin/registry/routingpolicy/"


def add(browser, **fields):
    form = {"name": "night", "position": "10", "enabled": "on", "then_exclude": "alpha"}
    return browser.post(ADD, {key: value for key, value in (form | fields).items() if value})


def wrong(answer, field):
    return answer.context["adminform"].form.errors.get(field)


def test_what_is_filled_in_is_what_is_kept(browser):
    answer = add(
        browser,
        when_teams="research, sales*",
        when_hours="22:00-06:00",
        when_days=["mon", "fri"],
        when_budget_used_at_least="80",
        then_exclude="",
        then_pin="alpha/*",
        then_max_cost="0.0500",
        then_last="on",
    )

    assert answer.status_code == 302
    policy = RoutingPolicy.objects.get()
    assert policy.conditions == {
        "teams": ["research", "sales*"],
        "budget_used_at_least": 80,
        "hours": "22:00-06:00",
        "days": ["mon", "fri"],
    }
    assert policy.actions == {"pin": ["alpha/*"], "max_cost": "0.05", "last": True}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("when_hours", "9-17", "Write hours as 22:00-06:00."),
        ("when_time_zone", "Mars", "Write a time zone such as Europe/Paris."),
        ("when_teams", "x" * 300, "String should have at most 200 characters."),
        ("then_max_cost", "-1", "Ensure this value is greater than or equal to 0."),
        ("then_max_cost", "0." + "1" * 10, "Ensure that there are no more than 9 decimal places."),
        ("when_input_tokens_at_least", "-1", "Ensure this value is greater than or equal to 0."),
        (
            "when_needs",
            "flying",
            "Select a valid choice. flying is not one of the available choices.",
        ),
    ],
)
def test_a_mistake_is_told_at_its_field(browser, field, value, said):
    answer = add(browser, **{field: value})

    assert wrong(answer, field) == [said]
    assert not RoutingPolicy.objects.exists()


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("0", "0"), ("0.0500", "0.05"), ("100", "100"), ("0.000000001", "0.000000001")],
)
def test_an_amount_is_kept_as_people_write_it(browser, typed, kept):
    add(browser, then_exclude="", then_max_cost=typed)

    assert RoutingPolicy.objects.get().actions == {"max_cost": kept}


def test_nothing_at_all_is_a_count(browser):
    add(browser, when_input_tokens_at_most="0")

    assert RoutingPolicy.objects.get().conditions == {"input_tokens_at_most": 0}


def test_what_no_policy_can_be_is_shown_nevertheless(browser):
    policy = make_policy(then={"last": True})
    RoutingPolicy.objects.update(conditions=["nonsense"], actions="nonsense")

    assert browser.get(LIST).status_code == 200
    assert browser.get(f"{LIST}{policy.pk}/change/").status_code == 200


@pytest.mark.parametrize("field", ["then_pin", "then_exclude", "then_prefer"])
@pytest.mark.parametrize(("pattern", "warns"), [("alpha/*", 0), ("alph?", 0), ("alhpa", 1)])
def test_a_route_of_a_provider_that_is_not_there_is_warned_of(browser, field, pattern, warns):
    make_provider("alpha")

    answer = add(browser, **({"then_exclude": ""} | {field: pattern}))

    said = [str(message) for message in get_messages(answer.wsgi_request)]
    assert len([each for each in said if each.startswith("No provider is called")]) == warns


def test_a_policy_that_does_nothing_is_refused(browser):
    assert "A policy needs an action." in str(add(browser, then_exclude="").content)


def test_a_policy_is_shown_in_the_form_as_it_is(browser):
    policy = make_policy(
        when={"teams": ["a", "b"], "needs": ["tools"]}, then={"max_cost": "0.5", "last": True}
    )

    form = browser.get(f"{LIST}{policy.pk}/change/").context["adminform"].form

    assert form["when_teams"].value() == "a, b"
    assert form["when_needs"].value() == ["tools"]
    assert form["then_last"].value() is True


def test_the_list_tells_what_a_policy_asks_and_does(browser):
    make_policy(when={"teams": ["a", "b"], "budget_used_at_least": 80}, then={"pin": ["alpha"]})
    make_policy(then={"last": True})

    page = browser.get(LIST).content.decode()

    assert "teams: a, b; budget used at least: 80" in page
    assert "always" in page
    assert "last: yes" in page
    assert "pin: alpha" in page


def test_who_may_only_look_reads_what_a_policy_asks_and_does(browser):
    policy = make_policy(
        when={"hours": "22:00-06:00"}, then={"prefer": ["beta"]}, managed_by="courier.yaml"
    )

    page = browser.get(f"{LIST}{policy.pk}/change/").content.decode()

    assert "hours: 22:00-06:00" in page
    assert "prefer: beta" in page


def switch(browser, action):
    rows = [policy.pk for policy in RoutingPolicy.objects.all()]
    answer = browser.post(LIST, {"action": action, "_selected_action": rows})
    return " ".join(map(str, get_messages(answer.wsgi_request)))


def test_many_are_switched_at_once_but_for_those_of_a_manifest(browser):
    make_policy("own", then={"last": True})
    make_policy("managed", then={"last": True}, managed_by="courier.yaml")

    said = switch(browser, "disable")

    assert list(RoutingPolicy.objects.values_list("name", "enabled")) == [
        ("managed", True),
        ("own", False),
    ]
    assert "1 left as they were: they come from a manifest" in said
    assert LogEntry.objects.get().change_message == "Switched off."


@pytest.mark.parametrize("action", ["enable", "disable"])
def test_who_may_only_look_switches_nothing(client, action):
    viewer = make_user(is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_routingpolicy"))
    client.force_login(viewer)
    before = action == "disable"
    make_policy(then={"last": True}, enabled=before)

    switch(client, action)

    assert RoutingPolicy.objects.get().enabled is before
