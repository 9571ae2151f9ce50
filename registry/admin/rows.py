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

    def validate_unique(self) -> None:
        deleted = [form.instance.pk for form in self.forms if _is_deleted(form)]
        stored = self.get_queryset().exclude(pk__in=[pk for pk in deleted if pk])
        seen: list[dict[str, Any]] = []
        for form in self.forms:
            if form.errors or _is_deleted(form) or not (form.has_changed() or form.instance.pk):
                continue
            row = {name: form.cleaned_data[name] for name in self.unique}
            others = stored.filter(**row).exclude(pk=form.instance.pk)
            if row in seen or (form.has_changed() and others.exists()):
                form.add_error(self.unique[-1], self.complaint)
            seen.append(row)


def _is_deleted(form: Any) -> bool:
    return bool(getattr(form, "cleaned_data", {}).get("DELETE"))
