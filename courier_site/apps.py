"""The composing application (commands, checks) and the admin with Courier's own site."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class CourierSiteConfig(AppConfig):
    name = "courier_site"
    default = True

    def ready(self) -> None:
        from courier_site import (  # noqa: F401  # they register themselves
            celery,
            checks,
        )
        from courier_site.blast import impact
        from courier_site.revising import (  # noqa: F401  # its pages, too
            admin,
            prepared_admin,
            recording,
        )
        from registry import revisions
        from registry.admin import confirming

        confirming.on_danger(impact.of_rows)
        revisions.on_revision(recording.record, recording.catch_up)


class CourierAdminConfig(admin_apps.AdminConfig):
    default = False
    default_site = "courier_site.admin.CourierAdminSite"
