"""One row of every model that the admin shows, and records of requests."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.contrib.auth.models import Group

from accounts.models import Budget, Plan
from lib.ids import hour_of, uuid7
from registry.models import (
    Certification,
    Intervention,
    PreparedChange,
    RecordedRevision,
)
from tests import factories
from usage.models import (
    Alert,
    DailyUsage,
    Decision,
    Export,
    PurgeReceipt,
    QuarantinedRecord,
    Reconciliation,
    ReportDefinition,
    RerateRun,
    StaleHour,
    UsageAttempt,
    UsageRecord,
)

UPSTREAM_SECRET = "sk-upstream-never-to-be-seen"


def make_record(key, *, at=None, **fields):
    """One answered request, made now if nothing else is said."""
    at = at or datetime.now(UTC)
    facts = {
        "request_id": id_of(at),
        "day": at.date(),
        "started_at": at,
        "key_id": key.pk,
        "key_name": key.name,
        "team_id": key.team_id,
        "team_name": key.team.name,
        "operation": "chat",
        "streamed": False,
        "model_asked": "gpt-4o",
        "model_served": "gpt-4o",
        "provider_name": "openai",
        "attempts": 1,
        "input_tokens": 100,
        "cached_input_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 20,
        "reasoning_tokens": 0,
        "usage_source": "provider",
        "cost_nano": 1_000_000,
        "total_ms": 800,
        "outcome": "ok",
        "end_reason": "complete",
        "status": 200,
    }
    record = UsageRecord.objects.create(**facts | fields)
    StaleHour.objects.create(hour=hour_of(record.request_id))
    return record


def make_attempt(record, **fields):
    """One upstream call of a request."""
    facts = {
        "request_id": record.request_id,
        "number": 1,
        "started_at": record.started_at,
        "key_id": record.key_id,
        "team_id": record.team_id,
        "model_served": record.model_served,
        "provider_name": record.provider_name,
        "upstream_model": "gpt-4o",
        "outcome": "upstream_timeout",
        "received": True,
        "input_tokens": 100,
        "output_tokens": 0,
        "usage_source": "provider",
        "total_ms": 800,
    }
    return UsageAttempt.objects.create(**facts | fields)


def make_refusal(key, **fields):
    """What is known of a request that was refused before it was admitted."""
    facts = {
        "request_id": uuid7(),
        "told": '{"v": 1, "error": {"code": "model_not_found", "status": 404, "message": "No."}}',
        "refusal": "model_not_found",
        "status": 404,
        "key_id": key.pk,
        "key_name": key.name,
        "team_id": key.team_id,
        "team_name": key.team.name,
        "operation": "chat",
        "model_asked": "gpt-4o",
    }
    return Decision.objects.create(**facts | fields)


def make_reconciliation(**fields):
    today = datetime.now(UTC).date()
    return Reconciliation.objects.create(first_day=today, last_day=today, **fields)


def id_of(moment):
    """A request id that tells this moment."""
    random = uuid7().int & ((1 << 80) - 1)
    return UUID(int=int(moment.timestamp() * 1000) << 80 | random)


def make_day(key, day, **fields):
    """The sums of one day."""
    sums = dict.fromkeys(
        (
            "estimated",
            "unpriced",
            "errors",
            "input_tokens",
            "cached_input_tokens",
            "cache_write_tokens",
            "output_tokens",
            "reasoning_tokens",
            "cost_nano",
        ),
        0,
    )
    facts = {
        "day": day,
        "key_id": key.pk,
        "key_name": key.name,
        "team_id": key.team_id,
        "team_name": key.team.name,
        "model": "gpt-4o",
        "requests": 1,
    }
    return DailyUsage.objects.create(**sums | facts | fields)


def one_of_each(user):
    """A row of every model that has a page, by the model's label."""
    provider = factories.make_provider("openai", kind="openai", base_url="")
    upstream_key = factories.make_upstream_key(provider, UPSTREAM_SECRET)
    model = factories.make_model("gpt-4o", provider, aliases=["large"])
    key = factories.make_key()
    webhook = factories.make_webhook()
    rows = [
        provider,
        upstream_key,
        model,
        model.routes.get(),
        factories.make_price(model),
        factories.make_policy("at night", then={"exclude": ["openai"]}),
        Certification.objects.create(
            provider=provider,
            upstream_model="gpt-4o",
            asked_by="root",
            finished_at=datetime.now(UTC),
        ),
        Intervention.objects.create(
            provider=provider, until=datetime.now(UTC) + timedelta(hours=1), begun_by="root"
        ),
        key,
        key.team,
        user,
        Group.objects.create(name="auditors"),
        factories.make_limit(key=key),
        Plan.objects.create(name="standard"),
        Budget.objects.create(key=key, amount=5),
        make_record(key),
        make_refusal(key),
        make_day(key, datetime.now(UTC).date()),
        Export.objects.create(requested_by=user),
        ReportDefinition.objects.create(name="Teams"),
        QuarantinedRecord.objects.create(raw=b"{", reason="The record is no JSON."),
        PurgeReceipt.objects.create(
            kind="records", first_day="2026-01-01", last_day="2026-01-01", rows=3
        ),
        RerateRun.objects.create(first_day="2026-01-01", last_day="2026-01-31"),
        RecordedRevision.objects.create(
            number=1000,
            origin="admin",
            author="root",
            changes=["add model gpt-4o"],
            objects_changed="model gpt-4o",
            deflated=RecordedRevision.deflate("version: 1\n"),
        ),
        PreparedChange.objects.create(
            title="Tomorrow",
            manifest="version: 1\n",
            made_by="another",
            starts_at=datetime.now(UTC),
        ),
        webhook,
        Alert.objects.create(kind=Alert.Kind.DRIFT, identity="drift:1", text="Sums differ."),
    ]
    secrets = [
        *(UPSTREAM_SECRET, upstream_key.sealed_secret, key.secret, key.digest),
        *(webhook.secret, webhook.sealed_secret),
    ]
    return {row._meta.label_lower: row for row in rows}, secrets
