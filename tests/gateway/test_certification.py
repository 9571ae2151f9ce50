"""Certifications against a provider of which one trait is broken, over real sockets."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from gateway import certification, failover, tasks
from registry import certified, snapshot
from registry.models import Certification, CertifiedTrait, Revision
from tests import factories
from tests.fakes.upstream import error_body
from tests.gateway.certifying import Provider

pytestmark = pytest.mark.django_db

CHAT = [trait for trait in certified.traits_of("chat") if trait not in {"cancel", "retry_after"}]
#: What the fake has only where it is asked for it.
QUIET = {"retry_after": "skipped"}


@pytest.fixture(autouse=True)
def _retries_do_not_wait(monkeypatch):
    monkeypatch.setattr(failover, "FIRST_BACKOFF_S", 0)


@pytest.fixture
def provider(upstream):
    provider = factories.make_provider("local", base_url=upstream.url)
    factories.make_upstream_key(provider)
    return provider


def order(provider, **fields):
    return Certification.objects.create(provider=provider, upstream_model="tiny", **fields)


def certify(provider, **fields):
    """Run the suite; returns the run, with its verdicts by trait."""
    run = order(provider, **fields)
    certification.certify(run.pk)
    run.refresh_from_db()
    run.verdicts = dict(run.traits.values_list("trait", "verdict"))
    return run


def detail_of(run, trait):
    return run.traits.get(trait=trait).detail


def test_a_provider_that_has_everything_passes_everything(provider, upstream):
    upstream.default = Provider()

    passed = dict.fromkeys(certified.traits_of("chat"), "passed")
    assert certify(provider).verdicts == passed | QUIET


@pytest.mark.parametrize("trait", CHAT[:11])
def test_one_broken_trait_fails_exactly_its_cell(provider, upstream, trait):
    upstream.default = Provider(trait)

    verdicts = certify(provider).verdicts

    assert {name for name, verdict in verdicts.items() if verdict == "failed"} == {trait}


def test_a_provider_that_fails_at_bad_requests_has_no_proper_errors(provider, upstream):
    upstream.default = Provider("error_shape")

    assert certify(provider).verdicts["error_shape"] == "failed"


def test_an_answer_that_is_there_at_once_cannot_be_cancelled(provider, upstream):
    upstream.default = Provider("cancel")

    assert certify(provider).verdicts["cancel"] == "skipped"


def test_a_cancelled_stream_is_let_go(provider, upstream):
    upstream.default = Provider()

    certify(provider)

    assert upstream.busy_connections == 0


def test_a_rate_limit_is_provoked_by_consent(provider, upstream):
    upstream.default = Provider()

    run = certify(provider, provokes=True)

    assert run.verdicts["retry_after"] == "passed"
    assert "come back in 2 s" in detail_of(run, "retry_after")


def test_a_rate_limit_that_does_not_say_when_to_come_back_fails(provider, upstream):
    upstream.default = Provider("retry_after")

    run = certify(provider, provokes=True)

    assert run.verdicts["retry_after"] == "failed"
    assert "nothing said when" in detail_of(run, "retry_after")


@pytest.mark.parametrize("trait", ["embeddings", "embeddings_order"])
def test_embeddings_are_a_task_of_their_own(provider, upstream, trait):
    upstream.default = Provider(trait)

    verdicts = certify(provider, task="embeddings").verdicts

    whole = {"embeddings": "passed", "embeddings_order": "passed"}
    assert verdicts == whole | {trait: "failed"}


def test_a_provider_that_is_away_has_neither_passed_nor_failed(provider, upstream):
    provider.base_url = "http://127.0.0.1:1/v1"
    provider.save()

    run = certify(provider)

    assert set(run.verdicts.values()) == {"skipped"}
    assert "could not be reached" in detail_of(run, "usage")


def test_what_depends_on_an_answer_is_not_asked_without_one(provider, upstream):
    upstream.always(error_body("No."), status=401)

    run = certify(provider)

    assert set(run.verdicts.values()) == {"skipped"}
    assert len(upstream.requests) == 1


def test_a_provider_without_a_usable_key_is_not_asked(provider, upstream):
    provider.keys.update(enabled=False)

    assert set(certify(provider).verdicts.values()) == {"skipped"}
    assert upstream.requests == []


def test_a_provider_s_words_are_not_kept(provider, upstream):
    upstream.always(error_body("a secret of the vendor's", code="vendor words"), status=400)

    run = certify(provider)

    assert not run.traits.filter(detail__contains="secret").exists()
    assert detail_of(run, "usage") == "The provider refused the request: status 400."


def test_servers_that_know_the_other_name_of_the_bound_are_asked_by_it(provider, upstream):
    like_others = Provider()

    def picky(request):
        body = request.json
        if "max_tokens" in body:
            return like_others.refused()
        bound = {"max_tokens": body.pop("max_completion_tokens")}
        return like_others(replace(request, body=json.dumps(body | bound).encode()))

    upstream.default = picky
    upstream.will_answer(error_body("Use max_completion_tokens."), status=400)

    certify(provider)

    assert "max_completion_tokens" in upstream.requests[1].json


def test_what_it_used_and_cost_is_kept(provider, upstream):
    upstream.default = Provider()
    model = factories.make_model("m", priced=False)
    factories.make_route(model, provider, upstream_model="tiny")
    factories.make_price(model, input="1", output="2")

    run = certify(provider)

    assert run.input_tokens >= 7 * 12
    assert run.cost_nano >= run.input_tokens * 1000


def test_every_process_learns_of_it_when_it_is_done(provider, upstream):
    upstream.default = Provider()
    run = order(provider)
    before = Revision.objects.get().number

    certification.certify(run.pk)

    assert Revision.objects.get().number == before + 1


def test_a_route_that_demands_the_broken_trait_is_skipped(provider, upstream):
    upstream.default = Provider("json_schema")
    model = factories.make_model("m")
    demanding = {"requires_certified": ["json_schema"], "upstream_model": "tiny"}
    factories.make_route(model, provider, **demanding)
    other = factories.make_route(model, factories.make_provider(), priority=1)

    certify(provider)

    assert [target.route_id for target in snapshot.load(1).models["m"].targets] == [other.pk]


class TestWorkers:
    def test_a_run_is_made_once(self, provider, upstream):
        upstream.default = Provider()
        run = certify(provider)
        asked = len(upstream.requests)

        certification.certify(run.pk)

        assert len(upstream.requests) == asked

    def test_what_waits_is_taken_up_one_at_a_time(self, provider):
        first, _ = order(provider), order(provider)
        assert certification.take_up() == first.pk

        Certification.objects.filter(pk=first.pk).update(heard_at=timezone.now())
        assert certification.take_up() is None

    def test_what_a_worker_left_is_gone_on_with(self, provider, upstream):
        upstream.default = Provider()
        long_ago = timezone.now() - timedelta(hours=1)
        run = order(provider, heard_at=long_ago)
        CertifiedTrait.objects.create(certification=run, trait="usage", verdict="passed")

        certification.certify(certification.take_up())

        assert run.traits.count() == len(certified.traits_of("chat"))

    def test_old_runs_go_but_not_those_whose_verdicts_stand(self, provider, upstream, monkeypatch):
        monkeypatch.setattr(certification, "KEPT", 1)
        upstream.default = Provider()
        provoked = certify(provider, provokes=True, started_at=timezone.now() - timedelta(days=9))
        old = certify(provider, started_at=timezone.now() - timedelta(days=8))

        new = certify(provider)

        left = set(Certification.objects.values_list("pk", flat=True))
        assert left == {provoked.pk, new.pk}
        assert old.pk not in left


class TestAtNight:
    @pytest.fixture
    def certified_before(self, provider):
        factories.make_route(factories.make_model("m"), provider, upstream_model="tiny")
        return order(
            provider,
            task="embeddings",
            started_at=timezone.now() - timedelta(days=1),
            finished_at=timezone.now(),
        )

    def test_nothing_is_ordered_unless_a_setting_asks_for_it(self, certified_before):
        tasks.certify_nightly()

        assert Certification.objects.count() == 1

    def test_what_was_certified_before_is_ordered_again(self, certified_before, settings):
        settings.COURIER_CERTIFY_NIGHTLY = True

        tasks.certify_nightly()
        tasks.certify_nightly()

        run = Certification.objects.get(finished_at=None)
        assert (run.upstream_model, run.task, run.asked_by) == ("tiny", "embeddings", "")

    def test_what_no_route_leads_to_any_more_is_left(self, certified_before, settings):
        settings.COURIER_CERTIFY_NIGHTLY = True
        certified_before.provider.routes.update(enabled=False)

        tasks.certify_nightly()

        assert Certification.objects.count() == 1


def test_a_quote_is_not_less_than_what_is_used(provider, upstream):
    upstream.default = Provider()

    quoted = certification.quote(provider, "tiny", "chat", provokes=False)
    run = certify(provider)

    assert quoted.input_tokens >= run.input_tokens
    assert quoted.output_tokens >= run.output_tokens
