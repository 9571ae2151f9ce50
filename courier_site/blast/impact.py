"""What a change would mean to those who are served, in figures and for the page that asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Model
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from accounts.models import ApiKey, Team
from courier_site.blast import use
from courier_site.blast.barring import Bar
from courier_site.blast.state import UPSTREAM, Allowance, Harm
from courier_site.blast.use import Use
from registry.models import UpstreamKey
from usage.money import dollars

Part = Mapping[str, Any]


@dataclass(frozen=True)
class Impact:
    """What is taken, and what that came to in the last seven days."""

    harm: Harm
    use: Use
    #: Requests for the models that nothing would serve any more.
    stranded_requests: Mapping[str, int]

    @property
    def blocks(self) -> bool:
        """Whether a model that is in use would be left without any target."""
        return bool(self.stranded_requests)

    @property
    def is_worth_asking(self) -> bool:
        """A limit that nobody meets is no harm. A model that is stranded has lost its targets."""
        return bool(self.harm.aliases or self.harm.targets or self.use.keys)


def impact_of(harm: Harm) -> Impact:
    return Impact(harm, use.of(_parts(harm)), use.requests_by_model(harm.stranded))


def _parts(harm: Harm) -> Iterator[Part]:
    """The traffic that meets the harm."""
    yield from ({"model": model} for model in harm.stranded)
    yield from ({"model": model} for _, model in harm.aliases)
    for model, provider in sorted({target[:2] for target in harm.targets}):
        yield {"model": model, "provider_name": provider}
    yield from map(_part_of_scope, harm.lowered)
    yield from map(_part_of_bar, harm.barred)


def _part_of_scope(allowance: Allowance) -> Part:
    if allowance.scope == "plan":
        keys = ApiKey.objects.filter(plan=allowance.scope_id)
        return {"key_id__in": list(keys.values_list("pk", flat=True))}
    if allowance.scope == UPSTREAM:
        # The sums per day do not tell which of its keys a provider was called with.
        key = UpstreamKey.objects.select_related("provider").get(pk=allowance.scope_id)
        return {"provider_name": key.provider.name}
    part: dict[str, Any] = {f"{allowance.scope}_id": allowance.scope_id}
    return part


def _part_of_bar(bar: Bar) -> Part:
    """The traffic that a policy may stop: its other conditions are left aside."""
    part: dict[str, Any] = {"model": bar.model}
    for column, patterns in (("team_name", bar.teams), ("key_name", bar.keys)):
        if patterns and not any(set("*?[") & set(each) for each in patterns):
            part[f"{column}__in"] = patterns
    return part


def told(impact: Impact) -> SafeString:
    """The figures as the page shows them."""
    harm = impact.harm
    context = {
        "use": impact.use,
        "spend": dollars(impact.use.nano_per_day),
        "days": use.DAYS,
        "stranded": [(name, impact.stranded_requests.get(name, 0)) for name in harm.stranded],
        "blocks": impact.blocks,
        "aliases": harm.aliases,
        "targets": harm.targets,
        "lowered": harm.lowered,
        "barred": harm.barred,
    }
    return render_to_string("admin/impact.html", context)


def of_rows(model: type[Model], numbers: Iterable[int]) -> SafeString:
    """What keys or teams that are about to be ended were used for."""
    columns: Mapping[type[Model], str] = {ApiKey: "key_id__in", Team: "team_id__in"}
    if model not in columns:
        return SafeString()
    return told(Impact(Harm(), use.of([{columns[model]: list(numbers)}]), {}))
