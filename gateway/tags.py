"""The labels that a client gives its request, for reports: from a header or from the body."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.dialects.base import Json, mapping
from gateway.errors import BadRequest

HEADER = "x-courier-tags"
MOST_TAGS = 8
#: No comma, so that labels can be joined by commas; nothing that a spreadsheet would run.
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,35}")


def tags_of(told: str, body: Json) -> str:
    """The labels of a request, sorted, with commas between.

    `told` is what the header says, and must be well-formed. The body's `metadata` is the
    provider's as well and may hold anything: each pair that makes a label, `key:value`, is
    one, and a pair named `tags` is a list of them; the rest is left alone. Raises BadRequest.
    """
    if not told and "metadata" not in body:
        return ""
    labels = dict.fromkeys(_in_header(told))
    labels.update(dict.fromkeys(_in_metadata(body)))
    return ",".join(sorted(list(labels)[:MOST_TAGS]))


def _in_header(told: str) -> list[str]:
    labels = [label for label in map(str.strip, told.split(",")) if label]
    if len(set(labels)) > MOST_TAGS:
        raise BadRequest(f"The header {HEADER} may name {MOST_TAGS} tags at most.", param=HEADER)
    for label in labels:
        if not TAG.fullmatch(label):
            raise BadRequest(
                f"The header {HEADER} has a tag that is none: up to 36 letters, digits and "
                ". _ : / @ + - beginning with a letter or digit.",
                param=HEADER,
            )
    return labels


def _in_metadata(body: Json) -> Iterator[str]:
    for key, value in mapping(body.get("metadata")).items():
        if not isinstance(value, str):
            continue
        labels = map(str.strip, value.split(",")) if key == "tags" else (f"{key}:{value}",)
        yield from (label for label in labels if TAG.fullmatch(label))
