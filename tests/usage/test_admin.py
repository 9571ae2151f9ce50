"""Usage in the admin: read only, quick however long the log is, and exact."""

import csv
import io
from datetime import date

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests import factories
from tests.usage.spools import make_record, record_on
from tests.usage.summing import sum_up
from usage.models import DailyUsage, Export, QuarantinedRecord, UsageRecord

pytestmark = pytest.mark.django_db
#: On PostgreSQL a roll-up sees what is committed.
committed = pytest.mark.django_db(transaction=True)

LIST = "/admin/usage/usagerecord/"
MONDAY, TUESDAY = date(2026, 11, 16), date(2026, 11, 17)


@pytest.fixture
def admin(client):
    client.force_login(factories.make_admin())
    return client


@pytest.fixture
def reader(client):
    """Someone who may read the log, and nothing else."""
    user = factories.make_user("reader", is_staff=True)
    user.user_permissions.set(permissions("view_usagerecord"))
    client.force_login(user)
    return client


def permissions(*names):
    from django.contrib.auth.models import Permission

    return Permission.objects.filter(codename__in=names)


def ship(own, *records):
    own.record(*records)
    own.ship()


def shown(response):
    """The ids of the records on a page of the list."""
    return [record.request_id for record in response.context_data["cl"].result_list]


def totals_of(response):
    return {title: figure for title, figure, _ in response.context_data["totals"]}


def text_of(response):
    return response.content.decode()


def test_the_list_says_who_asked_for_what_and_what_came_of_it(admin, own):
    ship(own, make_record(model_asked="mini", model_served="small", cost_nano=1_230_000,
                          input_tokens=12_345, first_token_ms=300, total_ms=4500))  # fmt: skip

    page = text_of(admin.get(LIST))

    for text in ("notebook", "research", "mini → small", "local", "12,345 / 5", "$0.00123",
                 "4.5 s (0.30 s)"):  # fmt: skip
        assert text in page


def test_the_list_says_which_operation_was_called(admin, own):
    ship(own, make_record(operation="transcriptions"))

    assert "transcriptions" in text_of(admin.get(LIST))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"images": 2, "input_tokens": 0, "output_tokens": 0}, "0 / 0, 2 images"),
        ({"search_units": 1}, ", 1 search unit<"),
        ({"cost_nano": None}, "unknown"),
        ({"cost_nano": 20_000_000_000, "usage_source": "estimated"}, "≈ $20.00"),
        ({"outcome": "client_disconnected"}, "client left"),
        ({"outcome": "upstream_timeout"}, "upstream timeout"),
        ({"total_ms": 123_000, "first_token_ms": None}, "123 s"),
    ],
)
def test_a_special_case_shows_in_the_list(admin, own, fields, text):
    ship(own, make_record(**fields))

    assert text in text_of(admin.get(LIST))


def queries_for(client, url):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return [query["sql"] for query in captured]


def test_the_list_counts_nothing(admin, own):
    ship(own, make_record())

    for url in (LIST, f"{LIST}?outcome=failed", f"{LIST}?q=x", f"{LIST}?p=2", f"{LIST}?all="):
        for sql in queries_for(admin, url):
            assert not ("COUNT(" in sql and "usage_usagerecord" in sql)


def test_the_list_takes_as_many_queries_for_many_rows_as_for_few(admin, own):
    ship(own, *(make_record() for _ in range(5)))
    few = queries_for(admin, LIST)

    ship(own, *(make_record() for _ in range(95)))

    assert len(queries_for(admin, LIST)) == len(few)


def test_the_list_is_read_along_the_primary_key(admin, own):
    (sql,) = [sql for sql in queries_for(admin, f"{LIST}?o=1.2") if "usage_usagerecord" in sql]

    assert 'ORDER BY "usage_usagerecord"."request_id" DESC LIMIT 50' in sql


def test_the_newest_is_first_and_the_next_page_goes_on(admin, own):
    records = [make_record() for _ in range(60)]
    ship(own, *records)
    newest_first = sorted((record.request_id for record in records), reverse=True)

    assert shown(admin.get(LIST)) == newest_first[:50]
    assert shown(admin.get(f"{LIST}?p=2")) == newest_first[50:]


def test_a_page_behind_the_last_is_empty(admin):
    assert shown(admin.get(f"{LIST}?p=7")) == []


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        ({"outcome": "ok"}, "ok"),
        ({"outcome": "upstream_unavailable"}, "failed"),
        ({"outcome": "upstream_timeout", "end_reason": "timeout"}, "timeout"),
        ({"outcome": "stream_interrupted", "end_reason": "upstream_cut"}, "upstream_cut"),
        ({"outcome": "client_disconnected", "end_reason": "client_gone"}, "client_disconnected"),
        ({"outcome": "interrupted", "end_reason": "interrupted"}, "interrupted"),
    ],
)
def test_requests_can_be_chosen_by_how_they_ended(admin, own, fields, chosen):
    others = [make_record(outcome="ok"), make_record(outcome="client_disconnected")]
    record = make_record(**fields)
    ship(own, record, *(other for other in others if other.outcome != fields["outcome"]))

    assert shown(admin.get(f"{LIST}?outcome={chosen}")) == [record.request_id]


def test_requests_can_be_chosen_by_key_and_team(admin, own, key):
    record = make_record(key_id=key.pk, team_id=key.team_id)
    ship(own, record, make_record(key_id=key.pk + 1, team_id=key.team_id + 1))

    assert shown(admin.get(f"{LIST}?key__id__exact={key.pk}")) == [record.request_id]
    assert shown(admin.get(f"{LIST}?team__id__exact={key.team_id}")) == [record.request_id]


def test_requests_can_be_chosen_by_the_models_there_are(admin, own):
    factories.make_model("large")
    record = make_record(model_served="large")
    ship(own, record, make_record())

    response = admin.get(f"{LIST}?model=large")

    assert shown(response) == [record.request_id]
    assert 'value="large"' in text_of(response)


def test_requests_can_be_chosen_by_days_both_included(admin, own):
    monday, tuesday = record_on(MONDAY), record_on(TUESDAY)
    ship(own, monday, tuesday, record_on(date(2026, 11, 18)))

    response = admin.get(f"{LIST}?day_from=2026-11-16&day_to=2026-11-17")

    assert shown(response) == [tuesday.request_id, monday.request_id]


@pytest.mark.parametrize("query", ["day_from=never", "day_to=2026-13-01", "outcome=bogus"])
def test_a_filter_that_makes_no_sense_is_ignored(admin, own, query):
    ship(own, make_record())

    assert len(shown(admin.get(f"{LIST}?{query}"))) == 1


def test_a_search_finds_the_whole_id_of_courier_or_of_the_client(admin, own):
    record = make_record(client_request_id="my-own-id")
    ship(own, record, make_record())

    for term in (str(record.request_id), f" {record.request_id.hex} ", "my-own-id"):
        assert shown(admin.get(LIST, {"q": term})) == [record.request_id]
    for term in (str(record.request_id)[:8], "my-own", "%", "' OR 1=1 --"):
        assert shown(admin.get(LIST, {"q": term})) == []


def test_a_search_does_not_read_the_whole_log(admin):
    for sql in queries_for(admin, f"{LIST}?q=my-own-id"):
        assert "LIKE" not in sql.upper()


def test_the_page_of_a_request_has_every_detail(admin, own):
    record = make_record(client_request_id="mine", cost_nano=None, first_token_ms=1200,
                         total_ms=3400, upstream_model="tiny", end_reason="complete")  # fmt: skip
    ship(own, record)

    page = text_of(admin.get(f"{LIST}{record.request_id}/change/"))

    for text in (str(record.request_id), "mine", "local / tiny", "Complete", "unknown",
                 "3,400 ms, the first token after 1,200 ms"):  # fmt: skip
        assert text in page


def test_the_page_of_a_request_outlives_its_key(admin, own):
    ship(own, record := make_record(key_id=999, team_id=999, user_id=999, price_id=999))

    assert admin.get(f"{LIST}{record.request_id}/change/").status_code == 200


def test_hostile_text_is_escaped(admin, own):
    ship(own, record := make_record(model_asked="<script>alert(1)</script>", outcome="<b>x"))

    for url in (LIST, f"{LIST}{record.request_id}/change/"):
        page = text_of(admin.get(url))
        assert "<script>alert" not in page
        assert "<b>x" not in page


@pytest.mark.parametrize("model", ["usagerecord", "dailyusage", "export", "quarantinedrecord"])
def test_nobody_adds_anything_by_hand(admin, model):
    assert admin.get(f"/admin/usage/{model}/add/").status_code == 403


def test_nobody_changes_or_deletes_a_record(admin, own):
    ship(own, record := make_record())

    assert admin.post(f"{LIST}{record.request_id}/change/", {"key_name": "x"}).status_code == 403
    assert admin.post(f"{LIST}{record.request_id}/delete/", {"post": "yes"}).status_code == 403
    assert UsageRecord.objects.get().key_name == "notebook"


@committed
def test_the_sums_of_a_day_are_listed_with_their_total(admin, own):
    ship(own, record_on(MONDAY, cost_nano=1_500_000_000), record_on(TUESDAY, input_tokens=12_340))
    sum_up()

    response = admin.get("/admin/usage/dailyusage/")

    assert totals_of(response) == {
        "Requests": "2",
        "Errors": "0",
        "Input tokens": "12,350",
        "Output tokens": "10",
        "Cost": "$1.50",
    }
    assert "12,340" in text_of(response)


@committed
def test_the_total_is_that_of_the_days_chosen(admin, own):
    factories.make_model("small")
    ship(own, record_on(MONDAY), record_on(TUESDAY), record_on(TUESDAY, model_served="large"))
    sum_up()
    url = "/admin/usage/dailyusage/?day_from=2026-11-17&day_to=2026-11-17&model=small"

    assert totals_of(admin.get(url))["Requests"] == "1"


@committed
@pytest.mark.parametrize(
    ("costs", "text"),
    [([None], "unknown"), ([10**9, None], "$1.00 and 1 unknown"), ([10**9, 10**9], "$2.00")],
)
def test_a_cost_that_is_not_known_is_not_hidden_in_a_sum(admin, own, costs, text):
    ship(own, *(record_on(MONDAY, cost_nano=cost) for cost in costs))
    sum_up()

    response = admin.get("/admin/usage/dailyusage/")

    assert text in text_of(response)


@committed
def test_the_total_says_what_it_leaves_out(admin, own):
    ship(own, record_on(MONDAY, cost_nano=10**9), record_on(TUESDAY, cost_nano=None))
    sum_up()

    response = admin.get("/admin/usage/dailyusage/")

    assert totals_of(response)["Cost"] == "$1.00"
    assert "without 1 of unknown cost" in text_of(response)


def test_without_any_day_the_totals_are_zero(admin):
    response = admin.get("/admin/usage/dailyusage/")

    assert totals_of(response)["Cost"] == "$0.00"


def test_a_list_with_a_bad_lookup_still_answers(admin):
    assert admin.get("/admin/usage/dailyusage/?bogus=1").status_code == 302


def test_exports_are_listed_with_their_filters(admin):
    Export.objects.create(filters={"outcome": "failed"}, rows=1234, state="failed")
    Export.objects.create()

    page = text_of(admin.get("/admin/usage/export/"))

    for text in ("outcome = failed", "1,234", "Broken off", "all requests"):
        assert text in page


def test_what_was_set_aside_can_be_read_and_deleted(admin):
    record = QuarantinedRecord.objects.create(digest="0", raw=b"C{\xff<b>", reason="DataError")

    page = text_of(admin.get(f"/admin/usage/quarantinedrecord/{record.pk}/change/"))
    admin.post(f"/admin/usage/quarantinedrecord/{record.pk}/delete/", {"post": "yes"})

    assert "C{\\xff&lt;b&gt;" in page
    assert not QuarantinedRecord.objects.exists()


def test_who_may_not_export_has_no_button_and_no_page(reader):
    assert "Export CSV" not in text_of(reader.get(LIST))
    assert reader.get(f"{LIST}export/").status_code == 403


def test_who_may_export_but_not_read_has_no_page(client):
    user = factories.make_user("writer", is_staff=True)
    user.user_permissions.set(permissions("add_export"))
    client.force_login(user)

    assert client.get(f"{LIST}export/").status_code == 403


def test_the_button_exports_what_the_filters_leave(admin, own):
    assert 'href="/admin/usage/usagerecord/export/?outcome=failed&amp;q=a%26b"' in text_of(
        admin.get(f"{LIST}?outcome=failed&q=a%26b")
    )


def test_an_export_with_a_bad_lookup_leads_back_to_the_list(admin):
    response = admin.get(f"{LIST}export/?bogus=1")

    assert (response.status_code, response.url) == (302, LIST)


async def read(response):
    return b"".join([chunk async for chunk in response])


@pytest.mark.django_db(transaction=True)
def test_an_export_is_streamed_with_the_filters_in_its_name_and_noted(async_client, own):
    user = factories.make_admin()
    async_to_sync(async_client.aforce_login)(user)
    ship(own, failed := make_record(outcome="upstream_timeout"), make_record())

    url = reverse("admin:usage_usagerecord_export")
    response = async_to_sync(async_client.get)(f"{url}?outcome=failed&q=")
    rows = list(csv.DictReader(io.StringIO(async_to_sync(read)(response).decode())))

    assert [row["request_id"] for row in rows] == [str(failed.request_id)]
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert "_outcome-failed.csv" in response["Content-Disposition"]
    export = Export.objects.get()
    assert (export.requested_by, export.filters, export.state, export.rows) == (
        user,
        {"outcome": "failed"},
        "done",
        1,
    )


def test_the_pages_show_sums_by_day_only_to_those_who_may(reader):
    assert reader.get(LIST).status_code == 200
    assert reader.get("/admin/usage/dailyusage/").status_code == 403
    assert not DailyUsage.objects.exists()
