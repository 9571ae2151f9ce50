"""Forms of the admin as a browser sends them."""


def inline(prefix, *rows, initial=0):
    """The fields of an inline with these rows."""
    fields = {
        f"{prefix}-TOTAL_FORMS": len(rows),
        f"{prefix}-INITIAL_FORMS": initial,
        f"{prefix}-MIN_NUM_FORMS": 0,
        f"{prefix}-MAX_NUM_FORMS": 1000,
    }
    for number, row in enumerate(rows):
        fields |= {f"{prefix}-{number}-{name}": value for name, value in row.items()}
    return fields


def provider(*keys, initial=0, **changed):
    """The form of a provider. A field that is None is left out, as an empty checkbox is."""
    fields = {
        "name": "openai",
        "kind": "openai_compatible",
        "base_url": "https://llm.example.com/v1",
        "enabled": "on",
        "connect_timeout_s": "3",
        "tls_timeout_s": "5",
        "first_byte_timeout_s": "60",
        "idle_timeout_s": "60",
        "total_timeout_s": "600",
        "on_disconnect": "cancel",
        "drain_timeout_s": "60",
    }
    return _without_none(fields | changed) | inline("keys", *keys, initial=initial)


def model(*, routes=(), prices=(), aliases=(), **changed):
    """The form of a new model."""
    fields = {
        "name": "gpt-4o",
        "enabled": "on",
        "strategy": "priority",
        "stickiness": "none",
        "max_attempts": "3",
        "on_unsupported": "drop",
    }
    return (
        _without_none(fields | changed)
        | inline("routes", *routes)
        | inline("prices", *prices)
        | inline("aliases", *aliases)
    )


def route(to, upstream_model="tiny", **changed):
    fields = {
        "provider": to.pk,
        "upstream_model": upstream_model,
        "priority": "0",
        "weight": "1",
        "enabled": "on",
    }
    return _without_none(fields | changed)


def price(**changed):
    """A row of prices, or with `model` the form of a price of its own."""
    fields = {"starts_at_0": "2026-01-01", "starts_at_1": "00:00:00", "input": "1", "output": "2"}
    return _without_none(fields | changed)


def complaints(answer):
    """Every sentence that a form complained with, by field."""
    assert answer.status_code == 200, answer.status_code
    found = {}
    for name, sentences in answer.context["adminform"].form.errors.items():
        found.setdefault(name, []).extend(sentences)
    for formset in answer.context["inline_admin_formsets"]:
        found.setdefault(formset.formset.prefix, []).extend(formset.formset.non_form_errors())
        for form in formset.formset.forms:
            for name, sentences in form.errors.items():
                found.setdefault(f"{formset.formset.prefix}.{name}", []).extend(sentences)
    return {name: " ".join(sentences) for name, sentences in found.items() if sentences}


def _without_none(fields):
    return {name: value for name, value in fields.items() if value is not None}
