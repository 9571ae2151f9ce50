"""The routing policies of a manifest."""

from __future__ import annotations

from typing import Any

from courier_site.manifest.document import Entry
from courier_site.manifest.writing import Writer
from registry.models import RoutingPolicy

#: The manifest's words for what a policy asks and does.
PARTS = {"when": "conditions", "then": "actions"}


def put_policy(writer: Writer, entry: Entry) -> RoutingPolicy:
    entry.only("name", "description", "enabled", "position", *PARTS)
    name = entry.text("name")
    row = RoutingPolicy.objects.filter(name=name).first() or RoutingPolicy(name=name)
    return writer.put(row, _fields(entry), entry, f"routing policy {name}")


def _fields(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = {
        field: entry.plain(key) for key, field in PARTS.items() if key in entry
    }
    if "description" in entry:
        fields["description"] = entry.text("description")
    if "enabled" in entry:
        fields["enabled"] = entry.flag("enabled")
    if "position" in entry:
        fields["position"] = entry.whole("position")
    return fields
