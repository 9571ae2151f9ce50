"""Fields that look up a row while one types, and survive what no browser would send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple

#: Longer numbers are no keys, and some databases fail on them.
LONGEST_KEY = 18


class Tolerant:
    """Django's own fails to draw a value that is no key, instead of leaving it out."""

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        keys = [key for key in map(str, value) if key.isdecimal() and len(key) <= LONGEST_KEY]
        widget: Any = super()
        return widget.optgroups(name, keys, attr)


class TolerantAutocomplete(Tolerant, AutocompleteSelect):
    """One row."""


class TolerantAutocompletes(Tolerant, AutocompleteSelectMultiple):
    """Any number of rows."""


class Autocompletes:
    """A part of admins and inlines with `autocomplete_fields`."""

    def formfield_for_foreignkey(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        admin: Any = super()
        if db_field.name in self.get_autocomplete_fields(request):  # type: ignore[attr-defined]
            site = self.admin_site  # type: ignore[attr-defined]
            kwargs["widget"] = TolerantAutocomplete(db_field, site, using=kwargs.get("using"))
        return admin.formfield_for_foreignkey(db_field, request, **kwargs)
