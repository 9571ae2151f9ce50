"""Saved reports in the admin: complaints at the field, previews, runs, and who may do what."""

import json
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission
from django.utils import timezone

from tests import factories
from tests.usage.ledger import DAY, NOON, log, sum_up
from usage import export_files, selection
from usage.models import Export, ReportDefinition, TeamTag

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "/admin/usage/reportdefinition/add/"
GOOD = {
    "name": "Teams",
    "first_dimension": "team",
    "second_dimension": "",
    "period": "fixed",
    "first_day": str(DAY),
    "last_day": str(DAY),
    "time_zone": "UTC",
    "currency": "USD",
    "rate": "1",
    "format": "csv",
    "schedule": "never",
    "recipients": "",
}


@pytest.fixture(autouse=True)
def _folder(settings, tmp_path):
    settings.DATA_DIR = tmp_path


@pytest.fixture
def root(client):
    user = factories.make_admin()
    client.force_login(user)
    return user


def sign_in_with(client, *permissions):
    user = factories.make_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return user


def definition(**fields):
    days = {"period": "fixed", "first_day": DAY, "last_day": DAY}
    return ReportDefinition.objects.create(**{"name": "Teams"} | days | fields)


def preview(report):
    return f"/admin/usage/reportdefinition/{report.pk}/preview/"


def complaints(client, **changes):
    response = client.post(ADD, GOOD | changes)
    return response.context_data["adminform"].form.errors if response.status_code == 200 else {}


def test_a_good_definition_is_saved_with_its_filters(client, root):
    key = factories.make_key()
    TeamTag.objects.create(team_id=1, tag="nightly")

    response = client.post(
        ADD, GOOD | {"only_key": [key.pk], "only_tag": ["nightly"], "recipients": "a@example.com"}
    )

    assert response.status_code == 302
    saved = ReportDefinition.objects.get()
    assert saved.filters == {"key": [key.pk], "tag": ["nightly"]}
    assert (saved.recipients, saved.created_by) == (["a@example.com"], root)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"currency": "EURO"}, "currency", "at most 3"),
        ({"currency": "E1"}, "currency", "three letters"),
        ({"rate": "2"}, "rate", "A US dollar is one"),
        ({"rate": "0", "currency": "EUR"}, "rate", "greater than or equal"),
        ({"second_dimension": "team"}, "second_dimension", "another one"),
        (
            {"first_dimension": "day", "second_dimension": "hour"},
            "second_dimension",
            "unit of time",
        ),
        ({"first_day": ""}, "first_day", "Enter a day"),
        ({"last_day": "2020-01-01"}, "last_day", "not before the first"),
        ({"schedule": "daily"}, "schedule", "on demand"),
        ({"time_zone": "Mars/Base"}, "time_zone", "time zone"),
        (
            {"time_zone": "Asia/Kolkata", "first_dimension": "hour"},
            "time_zone",
            "not hours of UTC",
        ),
        ({"recipients": "nobody"}, "recipients", "no email address"),
        ({"only_model": ["unheard-of"]}, "only_model", "not one of the available"),
        ({"only_key": ["99"]}, "only_key", "not one of the available"),
        ({"only_key": ["x"]}, "only_key", "not a valid value"),
    ],
)
def test_a_mistake_is_told_at_its_field(client, changes, field, words):
    errors = complaints(client, **changes)

    assert list(errors) == [field]
    assert words in str(errors[field])


@pytest.mark.usefixtures("root")
def test_two_tags_need_a_line_for_each(client):
    for tag in ("a", "b"):
        TeamTag.objects.create(team_id=1, tag=tag)

    assert "only_tag" in complaints(client, only_tag=["a", "b"])
    assert not complaints(client, only_tag=["a", "b"], first_dimension="tag")


@pytest.mark.usefixtures("root")
def test_a_preview_shows_the_lines(client):
    log(cost_nano=1_234_567_890)
    sum_up()

    page = client.get(preview(definition())).content.decode()

    assert "research" in page
    assert "1.234567890" in page


@pytest.mark.usefixtures("root")
def test_a_preview_by_time_has_a_chart(client):
    log()
    sum_up()
    by_day = definition(first_dimension="day", second_dimension="model")

    chart = json.loads(client.get(preview(by_day)).context_data["chart"])

    assert chart["labels"] == [str(DAY)]
    assert [(bars["label"], bars["data"]) for bars in chart["datasets"]] == [("small", [0.001])]


@pytest.mark.usefixtures("root")
def test_a_preview_before_the_first_sums_says_so(client):
    assert "Nothing was summed yet" in client.get(preview(definition())).content.decode()


@pytest.mark.usefixtures("root")
def test_a_moment_that_is_to_come_is_refused_in_a_sentence(client):
    log()
    sum_up()

    page = client.get(preview(definition()), {"as_of": "2040-01-01 00:00"}).content.decode()

    assert "Choose that moment or an earlier one" in page


def test_running_orders_a_file_and_leads_to_it(client, root):
    log()
    sum_up()
    report = definition()

    response = client.post(preview(report), {"as_of": ""})

    export = Export.objects.get()
    assert response.url == f"/admin/usage/export/{export.pk}/change/"
    assert (export.state, export.requested_by, export.definition) == ("waiting", root, report)
    assert export.question["first_day"] == str(DAY)


def test_who_may_only_look_makes_no_file(client):
    log()
    sum_up()
    sign_in_with(client, "view_reportdefinition")

    page = client.get(preview(definition()))

    assert b"Make the" not in page.content
    assert client.post(preview(ReportDefinition.objects.get())).status_code == 403
    assert not Export.objects.exists()


def test_who_may_not_look_has_no_preview(client):
    sign_in_with(client, "view_export")

    assert client.get(preview(definition())).status_code == 403


def finished(client):
    log()
    sum_up()
    client.post(preview(definition()))
    export_files.make(Export.objects.get().pk)
    return f"/admin/usage/export/{Export.objects.get().pk}"


@pytest.mark.usefixtures("root")
def test_a_file_and_its_manifest_are_downloaded(async_client, client):
    page = finished(client)
    async_client.cookies = client.cookies

    file, manifest = (read(async_client, f"{page}/{name}/") for name in ("file", "manifest"))

    assert file[1].startswith(b"team_id,team_name,requests")
    assert json.loads(manifest[1])["size"] == len(file[1]) == int(file[0]["Content-Length"])
    assert "report-" in file[0]["Content-Disposition"]


def read(async_client, url):
    async def answer():
        response = await async_client.get(url)
        return response, b"".join([chunk async for chunk in response.streaming_content])

    return async_to_sync(answer)()


def test_who_may_see_exports_takes_none(client, root):
    page = finished(client)
    sign_in_with(client, "view_export")

    assert client.get(f"{page}/change/").status_code == 200
    assert b"Download" not in client.get(f"{page}/change/").content
    assert client.get(f"{page}/file/").status_code == 403
    assert client.get(f"{page}/manifest/").status_code == 403


@pytest.mark.parametrize(
    ("kind", "right"), [("requests", "view_usagerecord"), ("report", "view_reportdefinition")]
)
def test_a_file_is_for_those_who_may_see_what_it_was_made_of(
    client, async_client, tmp_path, kind, right
):
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "usage.csv").write_bytes(b"content")
    export = Export.objects.create(kind=kind, state="done", file="usage.csv")
    page = f"/admin/usage/export/{export.pk}/file/"
    user = sign_in_with(client, "view_export", "add_export")

    assert client.get(page).status_code == 403

    user.user_permissions.add(Permission.objects.get(codename=right))
    async_client.force_login(user)
    assert read(async_client, page)[1] == b"content"


@pytest.mark.usefixtures("root")
def test_a_file_that_is_gone_is_not_found(client):
    page = finished(client)
    Export.objects.update(file="../secret")

    assert client.get(f"{page}/file/").status_code == 404


@pytest.mark.usefixtures("root")
def test_progress_is_told_as_a_share_of_what_is_expected(client):
    export = Export.objects.create(state="running", rows=50, expected_rows=200)

    told = client.get(f"/admin/usage/export/{export.pk}/progress/").json()

    assert (told["share"], told["rows"], told["has_ended"]) == (25, "50", False)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("facts", "share"),
    [
        ({"state": "running", "rows": 300, "expected_rows": 200}, 99),
        ({"state": "running", "rows": 300}, None),
        ({"state": "done"}, 100),
    ],
)
def test_a_guess_never_says_that_it_is_done(client, facts, share):
    export = Export.objects.create(**facts)

    assert client.get(f"/admin/usage/export/{export.pk}/progress/").json()["share"] == share


@pytest.mark.usefixtures("root")
def test_the_page_of_a_running_export_looks_how_far_it_is(client):
    export = Export.objects.create(state="running", heard_at=timezone.now())

    page = client.get(f"/admin/usage/export/{export.pk}/change/").content.decode()

    assert f'data-progress="/admin/usage/export/{export.pk}/progress/"' in page
    assert "usage/progress.js" in page


def test_progress_is_for_those_who_may_see_exports(client):
    export = Export.objects.create(state="running")
    sign_in_with(client, "view_reportdefinition")

    assert client.get(f"/admin/usage/export/{export.pk}/progress/").status_code == 403


LOG = "/admin/usage/usagerecord/"


def test_the_requests_that_the_filters_leave_are_ordered_as_a_file(client, root):
    log(model_served="large")
    log()
    sum_up()
    button = f"{LOG}export-file/?model=large"
    assert f'href="{button}"' in client.get(f"{LOG}?model=large").content.decode()

    client.post(button, {"format": "parquet"})

    export = Export.objects.get()
    assert (export.kind, export.format, export.filters) == (
        "requests", "parquet", {"model": "large"}
    )  # fmt: skip
    assert (export.expected_rows, export.requested_by) == (1, root)


@pytest.mark.usefixtures("root")
def test_a_filter_that_no_file_knows_leads_back_to_the_list(client):
    response = client.get(f"{LOG}export-file/?bogus=1")

    assert response.url.startswith(LOG)


def test_who_may_not_export_orders_no_file_of_requests(client):
    sign_in_with(client, "view_usagerecord")

    assert client.get(f"{LOG}export-file/").status_code == 403


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    "filters",
    [
        {"key__id__exact": "2"},
        {"team__id__exact": "2"},
        {"model": "large"},
        {"outcome": "failed"},
        {"outcome": "timeout"},
        {"outcome": "client_disconnected"},
        {"day_from": "2026-10-15"},
        {"day_to": "2026-10-14"},
        {"q": "mine"},
    ],
)
def test_a_file_has_what_the_list_shows(client, filters):
    factories.make_model("large")
    for team in (factories.make_team(), factories.make_team()):
        factories.make_key(team)
    log()
    log(NOON + timedelta(days=1), key_id=2, outcome="timeout", end_reason="timeout")
    log(team_id=2, model_served="large", outcome="client_disconnected")
    log(client_request_id="mine", outcome="upstream_error")

    listed = client.get(LOG, filters).context_data["cl"].queryset

    assert set(selection.selected(filters)) == set(listed)
    assert listed


@pytest.mark.usefixtures("root")
def test_a_report_by_tag_tells_no_total_for_two_tags_count_twice(client):
    log(tags="chat,nightly")
    sum_up()

    page = client.get(preview(definition(first_dimension="tag"))).content.decode()

    assert "do not add up to a total" in page
    assert "2 requests" not in page


@pytest.mark.usefixtures("root")
def test_the_form_of_a_statement_complains_of_nothing_before_it_is_sent(client):
    page = client.get("/admin/usage/reportdefinition/statement/")

    assert not page.context_data["form"].errors


@pytest.mark.usefixtures("root")
def test_a_moment_that_is_none_is_told_at_its_field(client):
    page = client.get(preview(definition()), {"as_of": "yesterday"})

    assert "such as 2026-10-31 18:00" in page.context_data["form"].errors["as_of"][0]


def test_those_who_may_only_look_see_what_a_report_leaves_in(client):
    team = factories.make_team("research")
    report = definition(filters={"team": [team.pk], "model": ["small", "large"]})
    sign_in_with(client, "view_reportdefinition")

    page = client.get(f"/admin/usage/reportdefinition/{report.pk}/change/").content.decode()

    assert "team: research; model: large, small" in page


@pytest.mark.usefixtures("root")
def test_a_preview_tells_what_is_left_in(client):
    log()
    sum_up()

    page = client.get(preview(definition(filters={"model": ["small"]}))).content.decode()

    assert "only model: small," in page


@pytest.mark.parametrize(("right", "links"), [("view_alert", 0), ("add_export", 1)])
def test_the_list_of_exports_offers_files_to_those_who_may_take_some(client, right, links):
    export = Export.objects.create(state="done", file="usage.csv")
    sign_in_with(client, "view_export", right)

    page = client.get("/admin/usage/export/").content.decode()

    assert page.count(f"/admin/usage/export/{export.pk}/file/") == links
