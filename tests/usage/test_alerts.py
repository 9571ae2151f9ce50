"""An alert is raised once, and goes to those whom it concerns."""

import threading

import pytest
from django.db import connection

from tests.factories import make_admin, make_team, make_user, make_webhook
from usage.alerts import raise_alert
from usage.models import Alert, Delivery

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _with_mail(settings):
    settings.EMAIL_URL = "smtp://mail.example.com"


def drift(identity="drift:1", **about):
    return raise_alert(Alert.Kind.DRIFT, identity, "The sums do not agree.", **about)


def addressed():
    return set(Delivery.objects.exclude(email="").values_list("email", flat=True))


def test_an_alert_is_raised_once():
    assert drift() is not None
    assert drift() is None
    assert Alert.objects.count() == 1


def test_another_identity_is_another_alert():
    drift("drift:1")
    drift("drift:2")

    assert Alert.objects.count() == 2


def test_identities_that_are_too_long_stay_apart():
    one, other = "unpriced:" + "m" * 200 + "1", "unpriced:" + "m" * 200 + "2"

    assert drift(one) is not None
    assert drift(other) is not None
    assert drift(one) is None


@pytest.mark.django_db(transaction=True)
def test_of_workers_that_race_one_raises_it():
    make_webhook()
    barrier = threading.Barrier(4)
    raised = []

    def work():
        barrier.wait()
        raised.append(drift())
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sum(alert is not None for alert in raised) == 1
    assert Delivery.objects.count() == 1


def test_it_goes_to_every_webhook_for_all():
    webhook = make_webhook()

    drift()

    assert Delivery.objects.get().webhook == webhook


def test_a_webhook_of_a_team_hears_of_that_team_only(team):
    make_webhook(name="theirs", team=team)
    make_webhook(name="others", team=make_team())
    make_webhook(name="all")

    drift(team=team)

    assert {each.webhook.name for each in Delivery.objects.filter(email="")} == {"theirs", "all"}


def test_a_webhook_of_a_team_does_not_hear_of_the_installation(team):
    make_webhook(team=team)

    drift()

    assert not Delivery.objects.exists()


def test_a_disabled_webhook_hears_of_nothing():
    make_webhook(enabled=False)

    drift()

    assert not Delivery.objects.exists()


def test_an_alert_about_a_team_goes_to_its_owners(team):
    drift(team=team)

    assert addressed() == {"alice@example.com"}


def test_an_alert_about_a_person_goes_to_that_person(team, bob):
    drift(team=team, person=bob)

    assert addressed() == {"bob@example.com"}


def test_a_person_who_has_left_is_not_written_to(team, bob):
    bob.is_active = False

    drift(team=team, person=bob)

    assert addressed() == {"alice@example.com"}


def test_an_alert_about_the_installation_goes_to_its_administrators(settings, alice):
    make_admin()
    settings.COURIER_ALERT_EMAILS = ["on-call@example.com"]

    drift()

    assert addressed() == {"root@example.com", "on-call@example.com"}


def test_an_alert_about_a_team_that_nobody_owns_goes_to_the_administrators():
    make_admin()

    drift(team=make_team(members=[make_user()]))

    assert addressed() == {"root@example.com"}


def test_without_a_mail_server_no_mail_is_promised(settings):
    settings.EMAIL_URL = ""
    make_admin()

    drift()

    assert not Delivery.objects.exists()
