"""Migrates, makes the first administrator, and applies the manifest or the demonstration."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from courier_site.manifest import ManifestError
from courier_site.preparation import prepare


class Command(BaseCommand):
    help = "Make the installation ready to serve. A second time changes nothing."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            preparation = prepare()
        except ManifestError as error:
            self.stderr.write(str(error))
            sys.exit(1)
        for line in (*preparation.outcome.warnings, *preparation.outcome.changes):
            self.stdout.write(line)
        if preparation.new_password:
            password = preparation.new_password
            self.stdout.write(f"Administrator {preparation.username}, password {password}")
        for known in preparation.outcome.keys:
            if known.issued:
                self.stdout.write(f"API key {known.key.name}, shown only now: {known.secret}")
        self.stdout.write("The installation is prepared.")
