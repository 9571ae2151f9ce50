"""Upstream keys as a pool: in what state each is, and what it may be used for.

Keys are entered on their provider's page, which leads here.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.views import ChangeList
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from registry import key_figures, key_health, key_states
from registry.admin.labels import label
from registry.models import UpstreamKey

LONGEST_SECRET = 4096
LONGEST_LIST = 4000


class SecretForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """An upstream key. Its field is not called `secret`: a read-only page would show that."""

    new_secret = forms.CharField(
        label="Secret",
        required=False,
        max_length=LONGEST_SECRET,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
    )

    class Meta:
        model = UpstreamKey
        fields = ("name", "weight", "enabled")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "new_secret" in self.fields:
            stored = "stored; leave empty to keep"
            self.fields["new_secret"].widget.attrs["placeholder"] = stored

    def clean_new_secret(self) -> str:
        secret: str = self.cleaned_data["new_secret"]
        if not secret and not self.instance.pk:
            raise ValidationError("Enter the key as the provider gave it to you.")
        if not all("!" <= character <= "~" for character in secret):
            raise ValidationError("A key has letters, digits and signs only, and no spaces.")
        return secret

    def save(self, commit: bool = True) -> UpstreamKey:
        if self.cleaned_data.get("new_secret"):
            self.instance.seal(self.cleaned_data["new_secret"])
        key: UpstreamKey = super().save(commit)
        return key


class ModelsField(forms.CharField):
    """Patterns of upstream models, with commas between."""

    def to_python(self, value: Any) -> Any:
        return [each.strip() for each in (value or "").split(",") if each.strip()]

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def validate(self, value: Any) -> None:
        """Each pattern is checked by the model."""

    def run_validators(self, value: Any) -> None:
        """The same."""


class UpstreamKeyForm(SecretForm):
    """A key with all that it has to keep to."""

    allowed_models = ModelsField(
        label="Models",
        required=False,
        max_length=LONGEST_LIST,
        widget=UnfoldAdminTextInputWidget,
        help_text="Upstream models that it may be used for, such as gpt-4o*, with commas "
        "between. Empty: all.",
    )

    class Meta:
        model = UpstreamKey
        fields = (
            *("name", "weight", "enabled", "allowed_models", "requests_per_minute"),
            *("tokens_per_minute", "concurrency", "budget", "budget_period"),
        )


class KeyList(ChangeList):
    """Looks up what is known of keys once for the page, not for each row."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        board, figures = key_states.known(), key_figures.of(list(self.result_list))
        for key in self.result_list:
            key.seen = board, figures.get(key.pk)


@admin.register(UpstreamKey)
class UpstreamKeyAdmin(ModelAdmin):
    form = UpstreamKeyForm
    list_display = ("name", "provider", "state", "quota", "spent", "limits", "weight", "enabled")
    list_select_related = ("provider",)
    list_filter = ("provider", "enabled")
    list_filter_submit = True
    search_fields = ("name", "provider__name")
    search_help_text = "Name or provider"
    actions = ("put_back", "take_out")
    readonly_fields = ("provider_link", "state", "quota", "spent", "changed_at")
    fieldsets = (
        (None, {"fields": ("provider_link", "name", "new_secret", ("weight", "enabled"))}),
        ("State", {"fields": ("state", "quota", "spent", "changed_at")}),
        ("What it may be used for", {"fields": ("allowed_models",)}),
        (
            "Limits, over all instances",
            {"fields": ("requests_per_minute", "tokens_per_minute", "concurrency")},
        ),
        ("Budget, by the provider's prices", {"fields": (("budget", "budget_period"),)}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: UpstreamKey | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if self.has_change_permission(request, obj):
            return fieldsets
        # A field of the form alone is not there to be read.
        first = ("provider_link", "name", ("weight", "enabled"))
        return ((None, {"fields": first}), *fieldsets[1:])

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeyList

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: UpstreamKey | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: UpstreamKey | None = None) -> bool:
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and not (obj and obj.provider.managed_by)

    @admin.display(description="Provider", ordering="provider")
    def provider_link(self, key: UpstreamKey) -> SafeString:
        page = reverse("admin:registry_provider_change", args=(key.provider_id,))
        return format_html('<a class="underline" href="{}">{}</a>', page, key.provider.name)

    @admin.display(description="State")
    def state(self, key: UpstreamKey) -> SafeString:
        return told(key, *_seen(key))

    @admin.display(description="Quota left")
    def quota(self, key: UpstreamKey) -> SafeString | str:
        lines = key_states.quota(key, _seen(key)[0])
        return format_html_join("", "<div>{}</div>", ((each,) for each in lines)) or "not told"

    @admin.display(description="Budget used")
    def spent(self, key: UpstreamKey) -> str:
        return key_states.budget(key, _seen(key)[1])

    @admin.display(description="Limits")
    def limits(self, key: UpstreamKey) -> str:
        return key_states.limits(key)

    @admin.action(description="Put back", permissions=["change"])
    def put_back(self, request: HttpRequest, keys: QuerySet[UpstreamKey]) -> None:
        """Use keys again, whatever their provider has said. Also those of manifests."""
        for key in keys.select_related("provider"):
            key.out_since, key.out_reason = None, ""
            key.save(update_fields=["out_since", "out_reason"])
            self.log_change(request, key, "Put back.")
            self._forget(request, key)
        self.message_user(request, f"{_count(len(keys))} put back.", messages.SUCCESS)

    @admin.action(description="Take out", permissions=["change"])
    def take_out(self, request: HttpRequest, keys: QuerySet[UpstreamKey]) -> None:
        """Let keys rest until somebody puts them back. Also those of manifests."""
        for key in keys.filter(out_since=None):
            key.out_since, key.out_reason = timezone.now(), key_states.TAKEN_OUT
            key.save(update_fields=["out_since", "out_reason"])
            self.log_change(request, key, "Taken out.")
        self.message_user(request, f"{_count(len(keys))} taken out.", messages.SUCCESS)

    def _forget(self, request: HttpRequest, key: UpstreamKey) -> None:
        try:
            key_health.clear(key.provider_id, key.pk)
        except key_health.HealthUnknown:
            text = f"Redis does not answer: what instances know of {key} holds on for now."
            self.message_user(request, text, messages.WARNING)


def told(
    key: UpstreamKey, board: key_health.Board | None, figures: key_figures.Figures | None
) -> SafeString:
    """The state in a colored word, and why."""
    condition = key_states.condition(key, board, figures)
    word = label(condition.word, condition.level, hint=condition.detail)
    return format_html("{} {}", word, condition.detail)


def _seen(key: Any) -> tuple[key_health.Board | None, key_figures.Figures | None]:
    """What is known of a key, looked up once for a list and once for a page."""
    if not hasattr(key, "seen"):
        key.seen = key_states.known(), key_figures.of([key]).get(key.pk)
    seen: tuple[key_health.Board | None, key_figures.Figures | None] = key.seen
    return seen


def _count(number: int) -> str:
    return "1 key was" if number == 1 else f"{number} keys were"
