"""Models that are in use, and the page that asks before anything is taken from their users."""

from datetime import timedelta

from django.urls import reverse
from django.utils import timezone

from courier_site.revising import recording
from registry.models import Route
from registry.revisions import Making
from tests.courier_site.rows import make_day
from tests.factories import make_key, make_model, make_provider, make_team, make_upstream_key

YES = {"impact_seen": "yes", "confirmed": "yes"}


def make_scene():
    """Two models of one provider, one of them with another provider beside; used for days."""
    main, spare = make_provider("main"), make_provider("spare")
    make_upstream_key(main)
    make_upstream_key(spare)
    make_model("alone", main, aliases=["lonely"])
    both = make_model("both", main)
    Route.objects.create(model=both, provider=spare, upstream_model="tiny", priority=1)
    research, sales = make_team("research"), make_team("sales")
    one, two = make_key(research, "one"), make_key(sales, "two")
    today = timezone.now().date()
    use = {"provider_name": "main", "model": "alone"}
    make_day(one, today, **use, requests=60, cost_nano=14_000_000_000)
    make_day(two, today - timedelta(days=6), **use, requests=10, cost_nano=7_000_000_000)
    make_day(two, today - timedelta(days=7), **use, requests=1000)
    make_day(one, today, provider_name="main", model="both", requests=7)
    make_day(two, today, provider_name="spare", model="both", requests=700)
    recording.record(Making("command", "test"))
    return {"one": one, "two": two, "research": research, "sales": sales}


def act(browser, model, action, *rows, **more):
    url = reverse(f"admin:{model}_changelist")
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return browser.post(url, chosen | more)


def impact(answer):
    """What the page that asks was made from."""
    assert answer.status_code == 200
    assert "registry/confirm.html" in [template.name for template in answer.templates]
    return " ".join(answer.content.decode().split())


def change_key(browser, key, **changed):
    url = reverse("admin:registry_upstreamkey_change", args=[key.pk])
    form = browser.get(url).context["adminform"].form
    kept = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    told = {name: value for name, value in kept.items() if value not in (None, False, "")}
    return browser.post(url, told | changed)
