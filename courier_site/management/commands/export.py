"""Prints the present configuration as a manifest."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from courier_site import manifest


class Command(BaseCommand):
    help = "Print the present configuration as a manifest, its secrets as references."
    requires_migrations_checks = True

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(manifest.export(), ending="")
