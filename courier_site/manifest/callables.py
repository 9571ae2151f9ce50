"""The sections of a manifest that say what can be called: providers and models."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from courier_site.manifest.document import Entry
from courier_site.manifest.secrets import given_secret
from courier_site.manifest.vocabulary import FALLBACKS, KEY_LIMITS, TIMEOUTS
from courier_site.manifest.writing import Writer
from lib import encryption
from registry.capabilities import COUNTS, NAMES, TRAITS
from registry.kinds import PROVIDER_KINDS, is_offered
from registry.models import (
    MODEL_NAME,
    Alias,
    Price,
    Provider,
    Route,
    ServedModel,
    UpstreamKey,
)

#: What a price may leave out.
OPTIONAL_FIGURES = tuple(name for name in Price.FIGURES if name not in ("input", "output"))
#: A price without a date has held ever since.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def put_provider(writer: Writer, entry: Entry) -> Provider:
    entry.only(
        *("name", "kind", "base_url", "enabled", "keys", "timeouts", "on_disconnect", "options")
    )
    name = entry.text("name")
    row = Provider.objects.filter(name=name).first() or Provider(name=name)
    wanted = _provider_fields(entry)
    if row.kind != wanted["kind"]:
        # What another kind had to know says nothing to this one.
        wanted.setdefault("options", {})
    writer.put(row, wanted, entry, f"provider {name}")
    writer.exactly(
        row, row.keys.all(), entry, "keys", lambda item: _put_upstream_key(writer, item, row)
    )
    return row


def _provider_fields(entry: Entry) -> dict[str, Any]:
    offered = [kind for kind in PROVIDER_KINDS if is_offered(kind)]
    fields: dict[str, Any] = {"kind": entry.choice("kind", offered, PROVIDER_KINDS.keys())}
    if "base_url" in entry:
        fields["base_url"] = entry.text("base_url")
    if "enabled" in entry:
        fields["enabled"] = entry.flag("enabled")
    if "on_disconnect" in entry:
        fields["on_disconnect"] = entry.choice("on_disconnect", Provider.OnDisconnect.values)
    if "timeouts" in entry:
        fields |= _timeout_fields(entry.entry("timeouts"))
    if "options" in entry:
        fields["options"] = entry.plain("options")
    return fields


def _timeout_fields(entry: Entry) -> dict[str, Any]:
    entry.only(*TIMEOUTS)
    return {field: float(entry.decimal(key)) for key, field in TIMEOUTS.items() if key in entry}


def _put_upstream_key(writer: Writer, entry: Entry, provider: Provider) -> UpstreamKey:
    entry.only(
        *("name", "secret", "secret_file", "if_unset", "weight", "enabled"),
        *("models", "limits", "budget"),
    )
    name = entry.text("name") if "name" in entry else "default"
    row = provider.keys.filter(name=name).first() or UpstreamKey(provider=provider, name=name)
    wanted = {"weight": entry.whole("weight") if "weight" in entry else 1} | _key_terms(entry)
    if "enabled" in entry:
        wanted["enabled"] = entry.flag("enabled")
    secret = _seal_fields(writer, row, entry)
    return writer.put(row, wanted, entry, f"upstream key {row}", secret)


def _key_terms(entry: Entry) -> dict[str, Any]:
    """What an upstream key is for and has to keep to: nothing but what the entry says."""
    fields: dict[str, Any] = dict.fromkeys(KEY_LIMITS.values())
    fields |= {"budget": None, "budget_period": UpstreamKey.Period.MONTH}
    fields["allowed_models"] = entry.texts("models") if "models" in entry else []
    if "limits" in entry:
        limits = entry.entry("limits")
        limits.only(*KEY_LIMITS)
        fields |= {field: limits.whole(key) for key, field in KEY_LIMITS.items() if key in limits}
    if "budget" in entry:
        budget = entry.entry("budget")
        budget.only("amount", "period")
        fields["budget"] = budget.decimal("amount")
        if "period" in budget:
            fields["budget_period"] = budget.choice("period", UpstreamKey.Period.values)
    return fields


def _seal_fields(writer: Writer, row: UpstreamKey, entry: Entry) -> dict[str, Any]:
    """The fields that hold the secret of the manifest; none if the row holds it already."""
    secret = given_secret(entry)
    if secret is None:
        return writer.without_secret(entry) if row._state.adding else {}
    if _holds(row, secret):
        return {}
    sealed = encryption.encrypt(secret, encryption.Purpose.UPSTREAM_KEY)
    return {
        "sealed_secret": sealed,
        "changed_at": timezone.now(),
        # The provider has refused another secret, if any.
        "out_since": None,
        "out_reason": "",
    }


def _holds(row: UpstreamKey, secret: str) -> bool:
    if row._state.adding:
        return False
    try:
        return row.secret == secret
    except encryption.CannotDecrypt:
        return False


def put_model(writer: Writer, entry: Entry) -> ServedModel:
    entry.only(
        *("name", "description", "enabled", "strategy", "stickiness", "max_attempts", "fallbacks"),
        *("capabilities", "on_unsupported", "routes", "prices", "aliases"),
    )
    name = _model_name(entry)
    row = ServedModel.objects.filter(name=name).first() or ServedModel(name=name)
    writer.put(row, _model_fields(entry), entry, f"model {name}")
    writer.exactly(
        row, row.routes.all(), entry, "routes", lambda item: _put_route(writer, item, row)
    )
    writer.exactly(
        row, row.prices.standing(), entry, "prices", lambda item: _put_price(writer, item, row)
    )
    _put_aliases(writer, entry, row)
    return row


def _model_name(entry: Entry) -> str:
    name = entry.text("name")
    if not re.fullmatch(MODEL_NAME, name):
        message = "A model's name has letters, digits and . _ : / @ + - and may end with *."
        raise entry.error(message, "name")
    if Alias.objects.filter(name=name).exists():
        raise entry.error(f'"{name}" is an alias of another model already.', "name")
    return name


def _model_fields(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "description" in entry:
        fields["description"] = entry.text("description")
    if "enabled" in entry:
        fields["enabled"] = entry.flag("enabled")
    if "strategy" in entry:
        fields["strategy"] = entry.choice("strategy", ServedModel.Strategy.values)
    if "stickiness" in entry:
        fields["stickiness"] = entry.choice("stickiness", ServedModel.Stickiness.values)
    if "max_attempts" in entry:
        fields["max_attempts"] = entry.whole("max_attempts")
    if "fallbacks" in entry:
        fields |= _fallback_fields(entry.entry("fallbacks"))
    if "on_unsupported" in entry:
        offered = ServedModel.OnUnsupported.values
        fields["on_unsupported"] = entry.choice("on_unsupported", offered)
    return fields | _capability_fields(entry)


def _fallback_fields(entry: Entry) -> dict[str, Any]:
    entry.only(*FALLBACKS)
    return {field: entry.texts(key) if key in entry else [] for key, field in FALLBACKS.items()}


def check_fallbacks(entry: Entry) -> None:
    """Once all models are there: raises ManifestError if one that is named is not."""
    if "fallbacks" not in entry:
        return
    told = entry.entry("fallbacks")
    for key in FALLBACKS:
        for name in ServedModel.unknown(told.texts(key) if key in told else []):
            raise told.error(f'There is no model named "{name}", or its name is a pattern.', key)


def _capability_fields(entry: Entry) -> dict[str, Any]:
    """What the entry says that a model or a route can do; all else is not known."""
    if "capabilities" not in entry:
        return {}
    told = entry.entry("capabilities")
    told.only(*NAMES)
    counts = {name: told.unknown_or_whole(name) for name in COUNTS}
    return counts | {name: told.unknown_or_flag(name) for name in TRAITS}


def _put_route(writer: Writer, entry: Entry, model: ServedModel) -> Route:
    entry.only(
        *("provider", "upstream_model", "priority", "weight", "enabled"),
        *("capabilities", "requires_certified"),
    )
    name, upstream_model = entry.text("provider"), entry.text("upstream_model")
    provider = Provider.objects.filter(name=name).first()
    if provider is None:
        raise entry.error(f'There is no provider named "{name}".', "provider")
    wanted: dict[str, Any] = {
        "priority": entry.whole("priority") if "priority" in entry else 0,
        "weight": entry.whole("weight") if "weight" in entry else 1,
    }
    if "enabled" in entry:
        wanted["enabled"] = entry.flag("enabled")
    if "requires_certified" in entry:
        wanted["requires_certified"] = entry.texts("requires_certified")
    wanted |= _capability_fields(entry)
    row = model.routes.filter(provider=provider, upstream_model=upstream_model).first() or Route(
        model=model, provider=provider, upstream_model=upstream_model
    )
    return writer.put(row, wanted, entry, f"route {row}")


def _put_price(writer: Writer, entry: Entry, model: ServedModel) -> Price:
    entry.only("from", "route", "free", *Price.FIGURES)
    free = "free" in entry and entry.flag("free")
    wanted: dict[str, Any] = {"free": free}
    for name in ("input", "output"):
        wanted[name] = Decimal(0) if free and name not in entry else entry.decimal(name)
    for name in OPTIONAL_FIGURES:
        wanted[name] = entry.decimal(name) if name in entry else None
    place = {
        "route": _route_of_price(entry, model) if "route" in entry else None,
        "starts_at": entry.moment("from") if "from" in entry else BEGINNING,
    }
    row = model.prices.standing().filter(**place).first() or Price(model=model, **place)
    return writer.put(row, wanted, entry, f"price of {row}")


def _route_of_price(entry: Entry, model: ServedModel) -> Route:
    where = entry.entry("route")
    where.only("provider", "upstream_model")
    name, upstream_model = where.text("provider"), where.text("upstream_model")
    route = model.routes.filter(provider__name=name, upstream_model=upstream_model).first()
    if route is None:
        message = f"The model has no route to {name} / {upstream_model}."
        raise entry.error(message, "route")
    return route


def _put_aliases(writer: Writer, entry: Entry, model: ServedModel) -> None:
    if not writer.decides(model, entry, "aliases"):
        return
    names = entry.texts("aliases") if "aliases" in entry else []
    for name in names:
        if ServedModel.objects.filter(name=name).exists():
            raise entry.error(f'"{name}" is the name of a model already.', "aliases")
        row = model.aliases.filter(name=name).first() or Alias(model=model, name=name)
        writer.put(row, {}, entry, f"alias {name}")
    writer.drop(model.aliases.exclude(name__in=names))
