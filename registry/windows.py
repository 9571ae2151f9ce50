"""Context windows from the shipped list, where nobody has said anything."""

from __future__ import annotations

from registry import catalog
from registry.models import Route, ServedModel


def fill_in(model: ServedModel) -> list[str]:
    """Enter what the list knows, for the model where its routes are alike, else for each route.

    What is there already stays, and so do models of a manifest. Returns what was entered, in
    sentences.
    """
    if model.managed_by or model.context_window is not None:
        return []
    routes = list(model.routes.select_related("provider", "model"))
    listed = {route: window for route in routes if (window := _window_of(route))}
    if len(listed) == len(routes) and len(set(listed.values())) == 1:
        return [_enter(model, next(iter(listed.values())))]
    unsaid = [route for route in listed if route.context_window is None]
    return [_enter(route, listed[route]) for route in unsaid]


def _window_of(route: Route) -> int | None:
    entry = catalog.find(route.provider, route.upstream_model)
    return entry.context_window if entry else None


def _enter(row: ServedModel | Route, window: int) -> str:
    row.context_window = window
    row.save(update_fields=["context_window"])
    return f"{row}: a context window of {window:,} tokens, from {catalog.SOURCE}."
