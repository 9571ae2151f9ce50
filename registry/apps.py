"""The registry application, and the one signal receiver of the project."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_delete, post_save

#: A change in any table of these apps is a change of the configuration.
CONFIGURATION = frozenset({"registry", "accounts"})
#: What is kept about changes is none.
ABOUT_ITSELF = frozenset({"revision", "recordedrevision", "preparedchange"})


class RegistryConfig(AppConfig):
    name = "registry"

    def ready(self) -> None:
        from registry import checks  # noqa: F401  # registers them

        post_save.connect(bump_revision, dispatch_uid="courier-revision")
        post_delete.connect(bump_revision, dispatch_uid="courier-revision")


def bump_revision(sender: Any, update_fields: frozenset[str] | None = None, **_: Any) -> None:
    """Number the change, in its own transaction, so that every process loads it anew."""
    from registry.models import Revision

    if sender._meta.app_label not in CONFIGURATION or sender._meta.model_name in ABOUT_ITSELF:
        return
    if update_fields == frozenset({"last_login"}):
        return
    Revision.bump()
