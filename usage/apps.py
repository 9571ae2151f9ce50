"""The usage application."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class UsageConfig(AppConfig):
    name = "usage"

    def ready(self) -> None:
        from accounts import outlook, traces
        from registry import key_figures
        from usage import key_outlooks, outlooks
        from usage.traces import has_usage

        traces.on_question(has_usage)
        outlook.on_question(outlooks.of)
        key_figures.on_question(key_outlooks.of)
        post_migrate.connect(_finish_tables, sender=self)


def _finish_tables(using: str, **_: Any) -> None:
    """Give the ledger's tables what no model describes."""
    from usage import append_only, partitions

    if using == "default":
        append_only.guard()
        partitions.look_after()
