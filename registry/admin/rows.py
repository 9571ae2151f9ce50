"""Rows of one parent, in its form, of which no two may be alike."""

from __future__ import annotations

from typing import Any

from unfold.forms import PaginationInlineFormSet


class UniqueRows(PaginationInlineFormSet):
    """Complains of rows that agree in the fields `unique`, stored ones included.

    Django leaves a constraint that includes the parent to the database, where a form that
    is sent twice ends in an error without words.
    """

    unique: tuple[str, ...]
    complaint: str

    def clean(self) -> None:
        super().clean()
        deleted = [form.instance.pk for form in self.forms if self._is_deleted(form)]
        stored = self.get_queryset().exclude(pk__in=[pk for pk in deleted if pk])
        for form in self.forms:
            if form.errors or not form.has_changed() or self._is_deleted(form):
                continue
            alike = {name: form.cleaned_data[name] for name in self.unique}
            if stored.filter(**alike).exclude(pk=form.instance.pk).exists():
                form.add_error(self.unique[-1], self.complaint)

    def get_unique_error_message(self, unique_check: Any) -> str:
        return self.complaint

    def _is_deleted(self, form: Any) -> bool:
        return bool(getattr(form, "cleaned_data", {}).get("DELETE"))
