"""manage.py explain: what would become of a request, and why. Nobody is called."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError

from accounts import admission
from accounts.models import ApiKey
from gateway import explain, simulation
from gateway.simulation import ENDPOINTS, Foreseen, Imagined
from gateway.story import Link, Step

SERVED, REFUSED = 0, 2
MARKS = {"passed": "+", "refused": "x", "failed": "x", "not asked": "-"}


class Command(BaseCommand):
    help = (
        "Tell what would become of a request: permission, limits, the hold, and the order of its "
        "targets. Nobody is called and nothing is counted. Exits with 0 if it would be served, "
        "2 if it would be refused."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--key", required=True, help="the API key's name, public id or number")
        parser.add_argument("--team", default="", help="its team, where names are not unique")
        parser.add_argument("--model", default="", help="the model that is asked for")
        parser.add_argument("--endpoint", default="chat", choices=sorted(ENDPOINTS))
        parser.add_argument("--body", type=Path, help="a file with the request's body, - for stdin")
        parser.add_argument("--input-tokens", type=int, default=100)
        parser.add_argument("--output-tokens", type=int, default=0, help="0: no bound is named")
        parser.add_argument("--stream", action="store_true")
        parser.add_argument("--tags", default="")
        parser.add_argument("--session", default="")
        parser.add_argument("--json", action="store_true", help="write JSON instead of words")

    def handle(self, **options: Any) -> None:
        imagined = imagined_of(options)
        foreseen = asyncio.run(_foreseen(imagined))
        steps = explain.steps_of(imagined, foreseen)
        write = _as_json if options["json"] else _in_words
        self.stdout.write(write(steps, foreseen))
        if foreseen.refusal:
            sys.exit(REFUSED)


def imagined_of(options: Mapping[str, Any]) -> Imagined:
    """The request that the command line tells of."""
    return Imagined(
        key=_key(options["key"], options["team"]),
        endpoint=options["endpoint"],
        model=options["model"],
        body=_body(options["body"]),
        input_tokens=options["input_tokens"],
        output_tokens=options["output_tokens"],
        streams=options["stream"],
        tags=options["tags"],
        session=options["session"],
    )


async def _foreseen(imagined: Imagined) -> Foreseen:
    try:
        return await simulation.foresee(imagined)
    finally:
        await admission.stop()


def _key(named: str, team: str) -> ApiKey:
    keys = ApiKey.objects.select_related("team").filter(archived_at=None)
    if team:
        keys = keys.filter(team__name=team)
    found = list(keys.filter(name=named)[:2]) or list(keys.filter(public_id=named)[:2])
    if not found and named.isdecimal():
        found = list(keys.filter(pk=named))
    if len(found) > 1:
        raise CommandError(f"Several keys are named {named!r}. Say of which --team.")
    if not found:
        raise CommandError(f"There is no API key {named!r}.")
    return found[0]


def _body(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise CommandError(f"The body cannot be read: {error.strerror}.") from error


def _as_json(steps: list[Step], foreseen: Foreseen) -> str:
    refusal = foreseen.refusal
    told = {
        "verdict": "refused" if refusal else "served",
        "error": refusal
        and {
            "status": refusal.status,
            "headers": refusal.headers,
            "body": orjson.loads(refusal.content),
        },
        "decision": foreseen.told,
        "steps": [asdict(step) for step in steps],
    }
    return orjson.dumps(told, default=list, option=orjson.OPT_INDENT_2).decode()


def _in_words(steps: list[Step], foreseen: Foreseen) -> str:
    lines = []
    for step in steps:
        lines.append(f"{MARKS[step.mark.value]} {step.title}: {' '.join(step.said)}".rstrip(": "))
        for table in step.tables:
            lines += [f"    {'  |  '.join(map(_text, row))}" for row in table.rows]
    if foreseen.refusal:
        lines.append(f"It would be refused with status {foreseen.refusal.status}:")
        lines.append(explain.pretty(foreseen.refusal.content))
    else:
        lines.append("It would be served.")
    return "\n".join(lines)


def _text(cell: str | Link) -> str:
    return cell.text if isinstance(cell, Link) else cell
