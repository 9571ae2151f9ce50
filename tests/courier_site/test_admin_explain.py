"""The pages that tell why: of requests that were made, and of those that are imagined."""

import json
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from accounts import admission, keys
from gateway import explain
from gateway.simulation import MOST_TOKENS, Imagined
from lib.ids import uuid7
from registry import snapshot
from tests import factories
from tests.usage.spools import OwnSpool, make_attempt, make_record
from tests.usage.test_decisions import make_refusal
from usage.models import Decision, UsageRecord

pytestmark = pytest.mark.django_db(transaction=True)

SIMULATE = "/admin/simulate/"


@pytest.fixture(autouse=True)
def _own_store(monkeypatch, settings):
    # The client of the tests has an event loop for each request, and no line to Redis outlives one.
    settings.REDIS_URL = ""
    monkeypatch.setattr(admission, "_store", None)


@pytest.fixture
def own(tmp_path):
    own = OwnSpool(tmp_path / "spool")
    yield own
    own.end()


@pytest.fixture
def admin(client):
    client.force_login(factories.make_admin())
    return client


@pytest.fixture
def alpha(db):
    provider = factories.make_provider("alpha")
    factories.make_upstream_key(provider, name="main")
    return provider


@pytest.fixture
def tiny(alpha):
    model = factories.make_model("tiny")
    factories.make_route(model, alpha, upstream_model="alpha-tiny")
    return model


def ask(admin, key, **fields):
    told = {
        "key": key.pk, "endpoint": "chat", "model": "tiny",
        "input_tokens": 100, "output_tokens": 10,
    }  # fmt: skip
    snapshot.refresh()
    return admin.post(SIMULATE, told | fields).content.decode()


def test_what_would_be_served_tells_its_targets(admin, key, tiny):
    page = ask(admin, key)

    assert "It would be served" in page
    assert '<td data-column="Upstream model">alpha-tiny</td>' in page
    assert '<td data-column="Key">main</td>' in page
    assert (
        f'{reverse("admin:accounts_apikey_change", args=(key.pk,))}">API key notebook</a>' in page
    )
    assert "<caption>Targets in their order</caption>" in page
    assert '<th scope="col">Upstream model</th>' in page
    assert "The order of the routes" in page
    assert explain.view_of() in page


def test_what_would_be_refused_tells_the_answer_in_the_clients_format(admin, key, tiny):
    page = ask(admin, key, endpoint="messages", model="nothing")

    assert "refused with status 404" in page
    assert "&quot;type&quot;: &quot;not_found_error&quot;" in page
    assert "not asked" in page


def test_nothing_is_written_down_or_counted(admin, key, tiny):
    factories.make_limit(key=key, amount=1)

    pages = [ask(admin, key) for _ in range(3)]

    assert all("It would be served" in page for page in pages)
    assert all("1 of 1" in page for page in pages)
    assert not UsageRecord.objects.exists()
    assert not Decision.objects.exists()


def test_a_key_that_opens_nothing_would_be_refused(admin, key, tiny):
    keys.revoke_key(key)

    assert "refused with status 401" in ask(admin, key)


def test_a_body_that_is_pasted_is_read_as_a_clients_is(admin, key, tiny):
    page = ask(admin, key, body=json.dumps({"model": "tiny"}))

    assert "refused with status 400" in page
    assert "Invalid &#x27;messages&#x27;" in page.replace("&#39;", "&#x27;")


def test_the_model_is_the_one_that_a_body_names(admin, key, tiny):
    said = [{"role": "user", "content": "Hello."}]

    page = ask(admin, key, model="", body=json.dumps({"model": "tiny", "messages": said}))

    assert "It may use the endpoint chat, and the model tiny." in page


def test_a_request_without_a_model_is_complained_of_at_its_field(admin, key, tiny):
    page = ask(admin, key, model="")

    assert "Name a model, or paste a body that does." in page
    assert "would be" not in page.partition("<form")[0]


ASKED = {
    "endpoint": "messages", "model": "tiny", "input_tokens": 7, "output_tokens": 5,
    "streams": True, "tags": "a,b", "session": "one",
}  # fmt: skip


def test_what_the_form_says_is_what_is_imagined(key):
    moment = datetime(2026, 11, 25, 23, 30, tzinfo=UTC)
    form = explain.SimulationForm(
        ASKED | {"key": key.pk, "moment": "2026-11-25T23:30", "body": ' {"x": 1} '}
    )

    assert form.is_valid(), form.errors
    assert form.imagined() == Imagined(key, **ASKED, moment=moment, body=b' {"x": 1} ')


def test_a_body_of_blanks_is_none(key):
    form = explain.SimulationForm(ASKED | {"key": key.pk, "body": " \n"})

    assert form.is_valid(), form.errors
    assert form.imagined().body is None


@pytest.mark.parametrize(("body", "complained_of"), [('{"model": "tiny"}', []), (" ", ["model"])])
def test_a_model_is_named_by_a_body_too(key, body, complained_of):
    form = explain.SimulationForm(ASKED | {"key": key.pk, "model": "", "body": body})

    assert list(form.errors) == complained_of


@pytest.mark.parametrize(
    ("field", "fits", "fits_not"),
    [
        ("model", "m" * 200, "m" * 201),
        ("session", "s" * 128, "s" * 129),
        ("input_tokens", 1, 0),
        ("input_tokens", MOST_TOKENS, MOST_TOKENS + 1),
        ("output_tokens", 0, -1),
        ("output_tokens", MOST_TOKENS, MOST_TOKENS + 1),
        ("endpoint", "chat", "made up"),
        ("model", "tiny", ""),
    ],
)
def test_the_form_complains_of_what_no_request_can_say(key, field, fits, fits_not):
    def complained_of(value):
        return list(explain.SimulationForm(ASKED | {"key": key.pk, field: value}).errors)

    assert complained_of(fits) == []
    assert complained_of(fits_not) == [field]


def test_models_are_offered_by_name_and_no_more_than_so_many(admin, alpha, monkeypatch):
    monkeypatch.setattr(explain, "MOST_OFFERED", 2)
    for name in ("c", "a", "b"):
        factories.make_model(name)

    assert list(admin.get(SIMULATE).context["models"]) == ["a", "b"]


def test_what_could_not_be_read_is_not_said_to_be_good(admin, key, tiny):
    page = ask(admin, key, body="{oops")

    assert "The body is not valid JSON" in page
    assert "could be read" not in page
    assert "and the model" not in page


def test_a_model_that_there_is_not_is_not_said_to_be_allowed(admin, key, tiny):
    page = ask(admin, key, model="nothing")

    assert "It may use" not in page


@pytest.mark.parametrize(
    ("permissions", "status"),
    [
        ((), 403),
        (("view_apikey",), 403),
        (("view_servedmodel",), 403),
        (("view_apikey", "view_servedmodel"), 200),
    ],
)
def test_only_who_may_see_keys_and_models_may_ask(client, alice, permissions, status):
    see(client, alice, *permissions)

    assert client.get(SIMULATE).status_code == status


def test_names_lead_only_where_the_user_may_go(client, alice, key, tiny):
    see(client, alice, "view_apikey", "view_servedmodel")

    page = ask(client, key)

    assert reverse("admin:accounts_apikey_change", args=(key.pk,)) in page
    assert '<td data-column="Provider">alpha</td>' in page
    assert "/admin/registry/provider/" not in page


@pytest.mark.parametrize(
    ("redis_url", "counted"),
    [("", "those of this process"), ("redis://redis", "shared by all instances")],
)
@pytest.mark.parametrize(
    ("role", "words"), [("all", "live state"), ("admin", "This process serves no requests")]
)
def test_a_simulation_tells_whose_view_it_is(settings, role, words, redis_url, counted):
    settings.COURIER_ROLE, settings.REDIS_URL = role, redis_url

    told = explain.view_of()

    assert words in told
    assert counted in told


def test_why_reads_like_a_story(admin, own, key):
    failed = make_attempt(provider_name="far", outcome="upstream_timeout", received=False)
    why = {
        "v": 1, "revision": 7, "model": "small", "strategy": "least_cost", "tokens": [10, 5],
        "at": 1_790_000_000_000_000, "hold": 5_000_000,
        "limits": [[1, f"key:{key.pk}", "requests", 60, 10, "", 3, 1_789_999_990]],
        "budgets": [[2, f"team:{key.team_id}", "month", False, True, 10**10, 10**9, 5, 0]],
        "policies": ["night shift"],
        "targets": [[1, 2, 3, "far", "tiny"], [4, None, 5, "local", "tiny"]],
        "dropped": [[6, 7, 8, "odd", "tiny", "breaker_open", 12.5, ""]],
    }  # fmt: skip
    record = make_record(key_id=key.pk, tries=[failed, make_attempt()], decision=why)
    own.record(record)
    own.ship()

    page = admin.get(f"/admin/requests/{record.request_id}/why/").content.decode()

    for words in (
        "3 of 10", "night shift", "least cost", "its breaker is open", "for 13s",
        "upstream timeout", "the next target", "the client got it", "revision 7",
    ):  # fmt: skip
        assert words in page, words


def test_of_two_requests_each_page_tells_of_its_own(admin, own, key):
    records = [
        make_record(key_id=key.pk, tries=[make_attempt()], decision={"v": 1, "strategy": strategy})
        for strategy in ("least_cost", "least_busy")
    ]
    for record in records:
        own.record(record)
    own.ship()

    pages = [
        admin.get(f"/admin/requests/{record.request_id}/why/").content.decode()
        for record in records
    ]

    assert ["least cost" in page for page in pages] == [True, False]
    assert ["least busy" in page for page in pages] == [False, True]
    assert [page.count('<td data-column="Outcome">') for page in pages] == [1, 1]


def test_the_list_of_refused_requests_tells_how_many_were_not_written_down(admin, own, key):
    own.recorder.refuse(make_refusal(key_id=key.pk, decision={"v": 1, "unrecorded": 35_999}))
    own.ship()

    assert "35,999" in admin.get("/admin/usage/decision/").content.decode()


def test_a_refused_request_is_told_from_the_list_of_them(admin, own, key):
    error = {"code": "rate_limit_exceeded", "status": 429, "message": "Rate limit reached."}
    refusal = make_refusal(key_id=key.pk, decision={"v": 1, "error": error})
    own.recorder.refuse(refusal)
    own.ship()

    listed = admin.get("/admin/usage/decision/").content.decode()
    told = admin.get(f"/admin/usage/decision/{refusal.request_id}/change/", follow=True)

    assert "rate limit exceeded" in listed
    assert "Rate limit reached." in told.content.decode()


def test_keys_are_told_by_their_names(admin, own, key, alpha):
    first, second, third = (
        factories.make_upstream_key(alpha, name=name) for name in ("red", "green", "blue")
    )
    why = {
        "v": 1,
        "targets": [[1, first.pk, alpha.pk, "alpha", "tiny"]],
        "dropped": [[1, second.pk, alpha.pk, "alpha", "tiny", "throttled", None, ""]],
    }
    tries = [
        make_attempt(upstream_key_id=third.pk, outcome="upstream_timeout", received=False),
        make_attempt(upstream_key_id=None, provider_name="free"),
    ]
    own.record(record := make_record(key_id=key.pk, tries=tries, decision=why))
    own.ship()

    page = admin.get(f"/admin/requests/{record.request_id}/why/").content.decode()

    for name in ("red", "green", "blue", "none needed"):
        assert f'<td data-column="Key">{name}</td>' in page, name


def test_a_request_that_there_is_not_is_not_found(admin):
    assert admin.get(f"/admin/requests/{uuid7()}/why/").status_code == 404


@pytest.mark.parametrize("told", ["{", "[1]", "7"])
def test_what_is_no_decision_is_none(told):
    assert explain.read(told) is None


def test_a_request_without_a_decision_says_so(admin, own, settings):
    settings.COURIER_KEEP_DECISIONS_DAYS = 7
    own.record(record := make_record())
    own.ship()

    page = admin.get(f"/admin/requests/{record.request_id}/why/").content.decode()

    assert "was not written down, or is kept no longer than 7 days." in page
    assert f"<code>{record.request_id}</code>" in page


def test_a_decision_that_tells_nothing_has_a_page(admin, own):
    assert "It could be read." in why_of(admin, own, make_attempt())


@pytest.mark.parametrize("is_in_the_log", [True, False])
def test_a_decision_that_cannot_be_read_is_as_good_as_none(admin, own, is_in_the_log):
    request_id = uuid7()
    if is_in_the_log:
        own.record(make_record(request_id=request_id))
        own.ship()
    Decision.objects.create(request_id=request_id, told="{", refusal="refused", key_name="gone")

    page = admin.get(f"/admin/requests/{request_id}/why/")

    assert page.status_code == 200
    assert "was not written down" in page.content.decode()


def test_an_old_request_fills_the_form(admin, own, key):
    why = {"v": 1, "tokens": [123, 45]}
    fields = {"operation": "messages", "streamed": True, "tags": "a,b"}
    own.record(record := make_record(key_id=key.pk, decision=why, **fields))
    own.ship()

    form = admin.get(f"{SIMULATE}?request={record.request_id}").context["form"]

    assert form.initial == {
        "key": key.pk, "endpoint": "messages", "model": "small", "input_tokens": 123,
        "output_tokens": 45, "streams": True, "tags": "a,b",
    }  # fmt: skip


def test_a_refused_request_fills_the_form(admin, own, key):
    own.recorder.refuse(refusal := make_refusal(key_id=key.pk))
    own.ship()

    form = admin.get(f"{SIMULATE}?request={refusal.request_id}").context["form"]

    assert form.initial == {
        "key": key.pk, "endpoint": refusal.operation, "model": refusal.model_asked,
        "input_tokens": 100, "output_tokens": 0, "streams": False, "tags": "",
    }  # fmt: skip


def test_a_key_and_a_model_that_are_named_are_filled_in(admin, key):
    form = admin.get(f"{SIMULATE}?key={key.pk}&model=tiny&tags=a").context["form"]

    assert form.initial == {"key": str(key.pk), "model": "tiny"}


def test_an_old_request_without_a_decision_fills_it_too(admin, own, key):
    own.record(record := make_record(key_id=key.pk))
    own.ship()

    form = admin.get(f"{SIMULATE}?request={record.request_id}").context["form"]

    assert (form["input_tokens"].value(), form["output_tokens"].value()) == (100, 0)


@pytest.mark.parametrize("asked", ["nonsense", "01a21615-1664-7917-b64c-d16f36ed01fb"])
def test_a_request_that_there_is_not_fills_nothing(admin, asked):
    page = admin.get(f"{SIMULATE}?request={asked}&model=tiny")

    assert page.status_code == 200
    assert page.context["form"]["model"].value() == "tiny"
    assert page.context["form"]["input_tokens"].value() == 100


def see(client, user, *codenames):
    """As staff with these permissions only."""
    user.is_staff = True
    user.save()
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)


def test_an_old_request_is_told_only_to_those_who_may_see_it(client, alice, own, key):
    own.record(record := make_record(key_id=key.pk, tags="a,b"))
    own.ship()
    see(client, alice, "view_apikey", "view_servedmodel")

    form = client.get(f"{SIMULATE}?request={record.request_id}").context["form"]

    assert form["tags"].value() is None


@pytest.mark.parametrize(
    ("permission", "status"), [("view_decision", 200), ("view_usagerecord", 403)]
)
def test_why_a_request_was_refused_is_for_those_who_see_refused_requests(
    client, alice, own, key, permission, status
):
    own.recorder.refuse(refusal := make_refusal(key_id=key.pk))
    own.ship()
    see(client, alice, permission)

    assert client.get(f"/admin/requests/{refusal.request_id}/why/").status_code == status


def test_a_request_that_failed_is_not_said_to_be_refused(admin, own, key):
    failed = make_attempt(outcome="upstream_timeout", received=False)
    own.record(record := make_record(tries=[failed], outcome="upstream_timeout", decision={"v": 1}))
    own.ship()

    page = admin.get(f"/admin/requests/{record.request_id}/why/").content.decode()

    assert page.count("story-failed") == 2
    assert "story-refused" not in page


def why_of(admin, own, *tries, **fields):
    """The page of a request with these upstream calls."""
    own.record(record := make_record(tries=list(tries), decision={"v": 1}, **fields))
    own.ship()
    return admin.get(f"/admin/requests/{record.request_id}/why/").content.decode()


LOST = {"outcome": "upstream_timeout", "received": False}


@pytest.mark.parametrize(
    ("failed", "said"),
    [(1, "1 call failed, and call 2 answered."), (2, "2 calls failed, and call 3 answered.")],
)
def test_calls_of_which_the_last_answered_are_not_said_to_have_passed_at_once(
    admin, own, failed, said
):
    page = why_of(admin, own, *(make_attempt(**LOST) for _ in range(failed)), make_attempt())

    assert page.count("story-passed-in-the-end") == 1
    assert said in page


def test_one_call_that_answered_has_passed(admin, own):
    page = why_of(admin, own, make_attempt(), cost_nano=5_000_000)

    assert "passed in the end" not in page
    assert "the client got it" in page
    assert "The answer is complete. It costs $0.00500." in page


def test_a_call_that_was_sent_in_parts_tells_so(admin, own):
    assert "answered, in 4 calls" in why_of(admin, own, make_attempt(calls=4))


def test_an_answer_that_was_cut_off_is_not_said_to_have_passed(admin, own):
    page = why_of(
        admin, own, make_attempt(outcome="stream_interrupted"),
        outcome="stream_interrupted", end_reason="upstream_cut",
    )  # fmt: skip

    assert page.count("story-failed") == 2
    assert "the client got what had come" in page
    assert "It ended as stream interrupted: upstream broke off." in page


def test_each_cell_names_its_column_for_screens_without_room_for_a_table(admin, own):
    page = why_of(admin, own, make_attempt())

    for column in ("#", "Provider / model", "Key", "Outcome", "Took", "Cost", "And then"):
        assert f'<td data-column="{column}">' in page


AGAIN = "What would happen to it now"


def test_why_leads_to_the_log_and_to_what_would_happen_now(admin, own):
    page = why_of(admin, own, make_attempt())

    pk = UsageRecord.objects.get().pk
    assert "Why this request went as it did" in page
    assert f"{reverse('admin:usage_usagerecord_change', args=(pk,))}" in page
    assert "The request in the log" in page
    assert f"{SIMULATE}?request={pk}" in page
    assert AGAIN in page


def why_refused(admin, own, **fields):
    """The page of a request that was not admitted."""
    own.recorder.refuse(refusal := make_refusal(**fields))
    own.ship()
    return admin.get(f"/admin/requests/{refusal.request_id}/why/").content.decode()


def test_of_a_refused_request_keys_are_told_by_their_names_too(admin, own, key, alpha):
    upstream_key = factories.make_upstream_key(alpha, name="red")
    dropped = [[1, upstream_key.pk, alpha.pk, "alpha", "tiny", "excluded", None, "night"]]

    page = why_refused(admin, own, key_id=key.pk, decision={"v": 1, "dropped": dropped})

    assert '<td data-column="Key">red</td>' in page


def test_a_refused_request_leads_to_its_key_and_team(admin, own):
    page = why_refused(admin, own, key_id=41, team_id=42)

    assert reverse("admin:accounts_apikey_change", args=(41,)) in page
    assert reverse("admin:accounts_team_change", args=(42,)) in page


def test_why_a_request_was_refused_leads_to_no_log(admin, own, key):
    own.recorder.refuse(refusal := make_refusal(key_id=key.pk))
    own.ship()

    page = admin.get(f"/admin/requests/{refusal.request_id}/why/").content.decode()

    assert AGAIN in page
    assert "The request in the log" not in page


def test_what_would_happen_now_is_offered_only_to_those_who_may_ask(client, alice, own):
    see(client, alice, "view_usagerecord")

    page = why_of(client, own, make_attempt())

    assert "the client got it" in page
    assert AGAIN not in page


def test_the_page_of_what_would_happen_has_a_title(admin):
    context = admin.get(SIMULATE).context

    assert context["title"] == "What would happen"
    assert context["available_apps"]


def test_the_log_leads_to_why(admin, own):
    own.record(record := make_record())
    own.ship()

    page = admin.get(f"/admin/usage/usagerecord/{record.request_id}/change/").content.decode()

    assert f"/admin/requests/{record.request_id}/why/" in page
