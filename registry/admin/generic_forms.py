"""The form of a provider that is described: one text of JSON, checked when it is saved."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from django import forms
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextareaWidget

from registry.generic import LARGEST, VALUES, WORDS, complaints
from registry.kinds import OWN_OPTIONS

#: The field's name, and for which kinds it is shown, as the page's script reads it.
DESCRIPTION = "description"
SHOWN_IF = " || ".join(f"kind == '{kind}'" for kind in sorted(OWN_OPTIONS))

_HELP = """JSON in three parts, of which the first two are needed.
<a href="{url}" class="described-link">Examples, and a page to try a description out</a>
<ul class="described-help">
<li><b>request</b>: <code>path</code> behind the base URL; <code>body</code>, a template;
<code>headers</code> (left out: the key as a bearer token; else templates with
<code>{{{{api_key}}}}</code>, <code>{{{{model}}}}</code>); <code>messages</code>,
<code>prompt</code> and <code>tool</code> say how these are written.
Placeholders of the body: {placeholders}. What has no value is left out; a name that ends in ?
is left out unless all that is in it has a value.</li>
<li><b>response</b>: paths such as <code>choices[0].message.content</code> or
<code>content[*].text</code> to <code>text</code>, <code>thinking</code>,
<code>tool_calls</code> (items, id, name, arguments), <code>finish</code>,
<code>usage</code> (input, output, cached, cache_write, reasoning), <code>error</code>;
<code>finish_map</code> says what reasons mean: stop, length, tool_calls, content_filter.</li>
<li><b>stream</b>, if there are any: <code>format</code> (sse, ndjson), paths as above into one
event, and <code>done</code>: <code>data</code>, or <code>path</code> and <code>equals</code>.</li>
</ul>"""


def help_text() -> SafeString:
    names = ", ".join(f"{{{{{name}}}}}" for name in sorted(VALUES | WORDS))
    return format_html(_HELP, placeholders=names, url=reverse("gateway-describe"))


def description_field() -> forms.CharField:
    """Where the JSON is entered."""
    widget = UnfoldAdminTextareaWidget(
        attrs={"rows": 18, "spellcheck": "false", "class": "described-text"}
    )
    return forms.CharField(label="Description", required=False, max_length=LARGEST, widget=widget)


def text_of(options: Any) -> str:
    """Options, for people to read and change."""
    return json.dumps(options, indent=2, ensure_ascii=False) if options else ""


def read(text: str) -> tuple[Any, list[str]]:
    """The options in a text, and what is wrong with them, in sentences."""
    try:
        told = json.loads(text or "{}", parse_constant=_refuse, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        return None, [f"This is no JSON: line {error.lineno}, column {error.colno}: {error.msg}."]
    except ValueError as error:
        return None, [str(error)]
    except RecursionError:
        return None, ["This is nested too deeply."]
    return told, complaints(told)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON.")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are different. Raises ValueError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"The name {twice[:100]!r} stands twice in one object.")
    return found
