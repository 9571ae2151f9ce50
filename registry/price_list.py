"""What the shipped price list would change: shown before it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from registry import catalog, conditions, windows
from registry.catalog import Entry
from registry.models import Price, Route, ServedModel

NO_FIGURE = "—"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A price row that the list would add."""

    model: ServedModel
    #: None: for the whole model.
    route: Route | None
    entry: str
    #: The row, not saved.
    listed: Price
    #: What would be in force at its start without it. None: the price is unknown.
    present: Price | None
    #: What the row cannot hold of the list.
    notes: tuple[str, ...]
    #: Why it cannot be written; empty if it can.
    obstacle: str

    @property
    def identity(self) -> str:
        """Tells it from others, and from what it was if the present price changes meanwhile."""
        route = self.route.pk if self.route else 0
        present = self.present.pk if self.present else None
        return f"{self.model.pk}.{route}.{present or 0}.{self.listed.starts_at.timestamp():.6f}"

    @property
    def subject(self) -> str:
        return str(self.route or self.model)

    def differences(self) -> Iterator[tuple[str, str, str]]:
        """Each figure that differs: its name, what it is now, and what is listed."""
        for name in Price.FIGURES:
            now, listed = self._figure(self.present, name), self._figure(self.listed, name)
            is_news = now != listed if self.present else listed != NO_FIGURE
            if is_news:
                yield Price.label(name), now, listed

    @staticmethod
    def _figure(price: Price | None, name: str) -> str:
        if price is None:
            return "unknown"
        figure = getattr(price, name)
        if figure is None:
            return NO_FIGURE
        return f"${figure:.2f}" if figure == round(figure, 2) else f"${figure.normalize():f}"


@dataclass(slots=True)
class Comparison:
    """The list beside the present prices of some models."""

    proposals: list[Proposal] = field(default_factory=list)
    #: Models and routes whose prices are as listed.
    as_listed: list[str] = field(default_factory=list)
    #: Models and routes that the list does not know, or not in units that can be metered.
    unlisted: list[str] = field(default_factory=list)

    @property
    def writable(self) -> list[Proposal]:
        return [proposal for proposal in self.proposals if not proposal.obstacle]


def models() -> QuerySet[ServedModel]:
    """All models with what `compare` needs, in a few queries."""
    return conditions.models().order_by("name")


def compare(rows: Iterable[ServedModel], start: datetime) -> Comparison:
    """What would change if these models had the list's prices from `start` on.

    A model whose routes are all listed alike gets one price; else each listed route its own.
    """
    comparison = Comparison()
    for model in rows:
        for route, entry in _listed(model):
            _propose(comparison, model, route, entry, start)
    return comparison


@transaction.atomic
def write(proposals: Sequence[Proposal]) -> list[Price]:
    """Add the rows, and the models' context windows where nobody has said anything."""
    written = []
    for proposal in proposals:
        row = proposal.listed
        row.full_clean()
        row.save()
        written.append(row)
    for model in {proposal.model.pk: proposal.model for proposal in proposals}.values():
        windows.fill_in(model)
    return written


def _listed(model: ServedModel) -> list[tuple[Route | None, Entry | None]]:
    """What the list has for each enabled route, or once for the model where it is the same."""
    found = [(route, _entry(route)) for route in model.routes.all() if route.enabled]
    alike = len({_periods(entry) for _, entry in found}) <= 1
    has_route_prices = any(price.route_id for price in model.prices.all() if not price.withdrawn_at)
    if alike and not has_route_prices:
        return [(None, found[0][1] if found else None)]
    return list(found)


def _entry(route: Route) -> Entry | None:
    entry = catalog.find(route.provider, route.upstream_model)
    usable = entry and all(period.is_usable for period in entry.periods)
    return entry if usable else None


def _periods(entry: Entry | None) -> tuple[object, ...]:
    periods = entry.periods if entry else ()
    return tuple((each.first_day, tuple(sorted(each.figures.items()))) for each in periods)


def _propose(
    comparison: Comparison,
    model: ServedModel,
    route: Route | None,
    entry: Entry | None,
    start: datetime,
) -> None:
    subject = str(route or model)
    if entry is None:
        comparison.unlisted.append(subject)
        return
    proposed: list[Proposal] = []
    for moment, listed in entry.since(start):
        row = listed.row()
        row.model, row.route, row.starts_at = model, route, moment
        rows = [*model.prices.all(), *(earlier.listed for earlier in proposed)]
        present = conditions.price_in_force(rows, moment, route)
        if present is None or _figures(present) != _figures(row):
            obstacle = _obstacle(model, row, present)
            proposed.append(
                Proposal(model, route, entry.name, row, present, listed.notes, obstacle)
            )
    comparison.proposals += proposed
    if not proposed:
        comparison.as_listed.append(subject)


def _obstacle(model: ServedModel, row: Price, present: Price | None) -> str:
    if model.managed_by:
        return f"It comes from the manifest {model.managed_by} and is changed there."
    if present and (present.starts_at, present.route_id) == (row.starts_at, row.route_id):
        return "A price with other figures begins at this very moment."
    return ""


def _figures(price: Price) -> tuple[object, ...]:
    return (price.free, *(getattr(price, name) for name in Price.FIGURES))
