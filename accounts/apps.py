"""The accounts application."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts.principals import reload_known
        from registry import snapshot

        snapshot.on_change(reload_known)
