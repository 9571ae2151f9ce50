"""Runs of the conformance suite: ordered in the admin or at night, made by a worker, kept.

A run asks the provider itself, with Courier's own key. It belongs to no key, so that it is not in
the ledger; what it used and cost is kept with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import F, Q
from django.utils import timezone

from gateway import conformance, upstream
from gateway.conformance import CHECKS, FIRST, PROVOKED, Finding, Verdict
from gateway.trial import Trial
from registry import catalog, certified, conditions, pricing, snapshot
from registry.models import Certification, CertifiedTrait, Provider, Route
from registry.pricing import Price
from registry.snapshot import Target

#: Seconds without a sign of life after which another worker goes on with a run.
FORSAKEN_AFTER_S = 15 * 60
#: Runs of one model of one provider that are kept, beside those whose verdicts stand.
KEPT = 30
#: A nightly run is not made where there was a run so lately.
LATELY = timedelta(hours=6)
UNANSWERED = "The first question was not answered, so that this was not asked."
NO_KEY = "The provider has no upstream key that can be used."


@dataclass(frozen=True, slots=True)
class Quote:
    """What a run uses and costs at most, as far as that can be told before it."""

    input_tokens: int
    output_tokens: int
    #: None: the price is not known.
    cost_nano: int | None


def quote(provider: Provider, upstream_model: str, task: str, *, provokes: bool) -> Quote:
    """What a run would use. Each question may be asked twice."""
    checks = [CHECKS[trait] for trait in certified.traits_of(task)]
    checks += [PROVOKED] if provokes else []
    given = 2 * sum(each.input_tokens for each in checks)
    answered = 2 * sum(each.output_tokens for each in checks)
    price = price_of(provider, upstream_model)
    return Quote(given, answered, price.hold_nano(given, answered) if price else None)


def price_of(provider: Provider, upstream_model: str) -> Price | None:
    """What the provider charges: as a route to it has it, else as the price list has."""
    routes = Route.objects.filter(provider=provider, upstream_model=upstream_model)
    now = timezone.now()
    for route in routes.select_related("model").order_by("pk"):
        row = conditions.price_in_force(route.model.prices.all(), now, route)
        if row:
            return pricing.price_of(row)
    entry = catalog.find(provider, upstream_model)
    listed = next((each for _, each in entry.since(now)), None) if entry else None
    return pricing.price_of(listed.row()) if listed and listed.is_usable else None


def take_up() -> int | None:
    """The oldest run that waits for a worker, or has lost its own; one at a time."""
    forsaken = timezone.now() - timedelta(seconds=FORSAKEN_AFTER_S)
    unfinished = Certification.objects.filter(finished_at=None)
    if unfinished.filter(heard_at__gte=forsaken).exists():
        return None
    return unfinished.order_by("started_at", "pk").values_list("pk", flat=True).first()


def certify(pk: int) -> None:
    """Make a run, or go on with it. Does nothing if it is done, or in another worker's hands."""
    forsaken = timezone.now() - timedelta(seconds=FORSAKEN_AFTER_S)
    free = Certification.objects.filter(pk=pk, finished_at=None)
    free = free.filter(Q(heard_at=None) | Q(heard_at__lt=forsaken))
    if not free.update(heard_at=timezone.now()):
        return
    run = Certification.objects.select_related("provider").get(pk=pk)
    targets = snapshot.targets_to(run.provider, run.upstream_model)
    if targets:
        _look_at_all(run, targets[0])
    else:
        for trait in certified.traits_of(run.task):
            _note(run, trait, Finding(Verdict.SKIPPED, NO_KEY), None)
    run.refresh_from_db()
    run.finished_at = timezone.now()
    # Saved, not updated: it is this that every process learns of.
    run.save(update_fields=["finished_at"])
    _forget_old(run)


def _look_at_all(run: Certification, target: Target) -> None:
    trial = Trial(target)
    price = price_of(run.provider, run.upstream_model)
    done = set(run.traits.values_list("trait", flat=True))
    with asyncio.Runner() as loop:
        try:
            for trait in certified.traits_of(run.task):
                if trait in done:
                    continue
                asked = done or trait in FIRST or trial.has_answered
                finding = (
                    loop.run(conformance.find_out(trait, trial, provokes=run.provokes))
                    if asked
                    else Finding(Verdict.SKIPPED, UNANSWERED)
                )
                _note(run, trait, finding, price)
        finally:
            loop.run(upstream.close())


def _note(run: Certification, trait: str, finding: Finding, price: Price | None) -> None:
    """Keep a finding. No process need know of it before the run is done."""
    row = CertifiedTrait(
        certification=run,
        trait=trait,
        verdict=finding.verdict,
        detail=finding.detail[:500],
        elapsed_ms=finding.elapsed_ms,
    )
    CertifiedTrait.objects.bulk_create([row])
    usage = finding.usage
    if price:
        run.cost_nano = (run.cost_nano or 0) + price.cost_nano(usage)
    Certification.objects.filter(pk=run.pk).update(
        heard_at=timezone.now(),
        input_tokens=F("input_tokens") + usage.input_tokens,
        output_tokens=F("output_tokens") + usage.output_tokens,
        cost_nano=run.cost_nano,
    )


def _forget_old(run: Certification) -> None:
    """Delete old runs of the same, but not those whose verdicts stand."""
    place = (run.provider_id, run.upstream_model)
    standing = {each.certification_id for each in certified.standing([place])[place].values()}
    runs = Certification.objects.filter(provider=run.provider, upstream_model=run.upstream_model)
    newest = runs.order_by("-started_at", "-pk").values_list("pk", flat=True)[:KEPT]
    runs.exclude(pk__in={*standing, *newest}).delete()


def order_nightly() -> Sequence[Certification]:
    """Order a run of everything that was certified before and that a route still leads to."""
    if not settings.COURIER_CERTIFY_NIGHTLY:
        return ()
    places = Certification.objects.filter(provider__enabled=True).values_list(
        "provider_id", "upstream_model", "task"
    )
    lately = Certification.objects.filter(started_at__gt=timezone.now() - LATELY)
    fresh = set(lately.values_list("provider_id", "upstream_model", "task"))
    routes = Route.objects.filter(enabled=True)
    routed = set(routes.values_list("provider_id", "upstream_model"))
    due = sorted(each for each in set(places) - fresh if each[:2] in routed)
    return [
        Certification.objects.create(provider_id=provider, upstream_model=name, task=task)
        for provider, name, task in due
    ]
