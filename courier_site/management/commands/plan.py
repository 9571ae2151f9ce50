"""Shows what applying a manifest would change; exit code 2 if anything."""

from __future__ import annotations

from typing import Any

from courier_site import manifest
from courier_site.management.manifests import ManifestCommand


class Command(ManifestCommand):
    help = "Show what a manifest would change, in words and as a diff. Exit code 2 if anything."

    def handle(self, *args: Any, **options: Any) -> None:
        outcome = self.outcome(manifest.plan, options)
        if not outcome.changes:
            self.stdout.write("Nothing would change.")
            return
        for change in outcome.changes:
            self.stdout.write(change)
        self.stdout.write(f"\n{outcome.diff}")
        raise SystemExit(2)
