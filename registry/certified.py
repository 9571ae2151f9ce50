"""Which verdicts of the conformance suite stand, and which routes go without."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from registry.models import Certification, CertifiedTrait, Route
from registry.traits import OF_EMBEDDINGS, TRAITS

#: A provider's id, and its own name for a model.
Place = tuple[int, str]


def traits_of(task: str) -> list[str]:
    """The traits that a run of this task looks at."""
    embeds = task == Certification.Task.EMBEDDINGS
    return [name for name in TRAITS if (name in OF_EMBEDDINGS) is embeds]


def standing(places: Collection[Place]) -> dict[Place, dict[str, CertifiedTrait]]:
    """The newest verdict of each trait, of finished runs; what was not tried says nothing."""
    found: dict[Place, dict[str, CertifiedTrait]] = {place: {} for place in places}
    if not places:
        return found
    tried = CertifiedTrait.objects.exclude(verdict=CertifiedTrait.Verdict.SKIPPED).filter(
        certification__finished_at__isnull=False,
        certification__provider__in={provider for provider, _ in places},
        certification__upstream_model__in={name for _, name in places},
    )
    for trait in tried.select_related("certification").order_by("certification__started_at", "pk"):
        run = trait.certification
        of_place = found.get((run.provider_id, run.upstream_model))
        if of_place is not None:
            of_place[trait.trait] = trait
    return found


def missing(routes: Iterable[Route]) -> dict[int, list[str]]:
    """What each of these routes is to be certified for and is not, by the route's id."""
    demanding = [route for route in routes if route.requires_certified]
    verdicts = standing({place_of(route) for route in demanding})
    return {
        route.pk: lacking
        for route in demanding
        if (lacking := _not_passed(route.requires_certified, verdicts[place_of(route)]))
    }


def passed(routes: Iterable[Route]) -> dict[int, frozenset[str]]:
    """The traits that each of these routes is certified for, by the route's id."""
    known = list(routes)
    verdicts = standing({place_of(route) for route in known})
    return {route.pk: _passed(verdicts[place_of(route)]) for route in known}


def by_model(
    routes: Iterable[Route], lacking: Mapping[int, Sequence[str]]
) -> dict[int, tuple[str, ...]]:
    """What `missing` has found, by the model's id, each trait once."""
    found: dict[int, tuple[str, ...]] = {}
    for route in routes:
        names = (*found.get(route.model_id, ()), *lacking.get(route.pk, ()))
        found[route.model_id] = tuple(dict.fromkeys(names))
    return found


def place_of(route: Route) -> Place:
    return route.provider_id, route.upstream_model


def _not_passed(demanded: Iterable[str], verdicts: dict[str, CertifiedTrait]) -> list[str]:
    having = _passed(verdicts)
    return [name for name in demanded if name not in having]


def _passed(verdicts: Mapping[str, CertifiedTrait]) -> frozenset[str]:
    return frozenset(name for name, each in verdicts.items() if each.verdict == each.Verdict.PASSED)
