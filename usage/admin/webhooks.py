"""Webhooks in the admin: their secret is shown once, and a test says in words how it went."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from accounts.admin.key_forms import GRACES, GraceForm
from lib.ids import uuid7
from registry.admin.autocomplete import Autocompletes
from usage import deliveries, webhooks
from usage.errors import Undelivered
from usage.models import Webhook


@admin.register(Webhook)
class WebhookAdmin(Autocompletes, ModelAdmin):
    list_display = ("name", "host", "whose", "enabled", "created_at")
    list_filter = (("team", AutocompleteSelectFilter), "enabled")
    list_filter_submit = True
    list_select_related = ("team",)
    search_fields = ("name",)
    autocomplete_fields = ("team",)
    fields = ("name", "url", "team", "enabled")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/test/", wrap(self.test), name="usage_webhook_test"),
            path("<int:pk>/rotate/", wrap(self.rotate), name="usage_webhook_rotate"),
            *super().get_urls(),
        ]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            obj.seal(webhooks.new_secret())
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: Webhook, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._show_once(request, obj, obj.secret)

    @method_decorator(require_POST)
    def test(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send a message that tells of nothing, and say how it went."""
        webhook = self._changeable(request, pk)
        try:
            deliveries.send_test(webhook, uuid7())
        except Undelivered as failure:
            self.message_user(request, f"The test did not arrive. {failure}", messages.ERROR)
        else:
            self.message_user(request, "The test arrived.", messages.SUCCESS)
        return HttpResponseRedirect(_page_of(webhook))

    @method_decorator(require_POST)
    def rotate(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask for how long the former secret is to work on; then give a new one."""
        webhook = self._changeable(request, pk)
        seen = request.POST.get("seen")
        form = GraceForm(request.POST if seen else None)
        if not form.is_valid():
            return self._page(
                request, "usage/webhook_rotate.html", webhook, form=form, seen=_seal_of(webhook)
            )
        if seen != _seal_of(webhook):
            # A page that is loaded again must not rotate again: it would end the new secret.
            text = "Nothing was rotated: it has a new secret already."
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(_page_of(webhook))
        _, grace = GRACES[form.cleaned_data["grace"]]
        secret = webhooks.rotate(webhook, grace)
        self.log_change(request, webhook, "Rotated its secret.")
        return self._show_once(request, webhook, secret)

    @admin.display(description="Host")
    def host(self, webhook: Webhook) -> str:
        return webhook.host

    @admin.display(description="Told of", ordering="team__name")
    def whose(self, webhook: Webhook) -> str:
        return f"team {webhook.team}" if webhook.team else "everything"

    def _changeable(self, request: HttpRequest, pk: int) -> Webhook:
        webhook = Webhook.objects.filter(pk=pk).first()
        if not self.has_change_permission(request, webhook):
            raise PermissionDenied
        if webhook is None:
            raise Http404("There is no such webhook.")
        return webhook

    def _show_once(self, request: HttpRequest, webhook: Webhook, secret: str) -> HttpResponse:
        """The one answer that holds the secret: in no cache, session, log or URL."""
        return self._page(request, "usage/webhook_secret.html", webhook, secret=secret)

    def _page(
        self, request: HttpRequest, template: str, webhook: Webhook, **context: Any
    ) -> HttpResponse:
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": "Webhook",
            "webhook": webhook,
            "back": _page_of(webhook),
        }
        return TemplateResponse(request, template, {**shared, **context})


def _page_of(webhook: Webhook) -> str:
    return reverse("admin:usage_webhook_change", args=(webhook.pk,))


def _seal_of(webhook: Webhook) -> str:
    """What tells the present secret from later ones, and reveals nothing of it."""
    return hashlib.sha256(webhook.sealed_secret.encode()).hexdigest()[:16]
