"""One line per log event: JSON in production, plain text on a laptop."""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any

import structlog

#: Events that concern security: certificates that do not hold, keys that are refused.
SECURITY = logging.getLogger("courier.security")

#: Characters of one value in a log line. A traceback has more lines than that.
LONGEST = 4000
#: What moves a terminal's cursor, ends a line, or turns the order of letters around.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def printable(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Have values show what they hold: somebody else may have chosen them."""
    for name, value in event.items():
        if isinstance(value, str) and name != "exception":
            event[name] = _shown(value)
    return event


def one_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep an event on its line where lines are not JSON."""
    for name, value in event.items():
        if isinstance(value, str) and name != "exception":
            event[name] = value.replace("\n", "\\n")
    return event


def _shown(value: str) -> str:
    short = value if len(value) <= LONGEST else f"{value[:LONGEST]}…"
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], short)


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def logging_config(*, level: str, as_json: bool) -> dict[str, Any]:
    """Django's LOGGING: everything to standard error, through one formatter."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=False,
            # Its other formatters show local variables, and so secrets.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    last = (
        [structlog.processors.format_exc_info, printable, renderer]
        if as_json
        else [printable, one_line, renderer]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Their lines at INFO name every upstream URL and every connection.
            "httpx": {"level": "WARNING"},
            "aiohttp": {"level": "WARNING"},
            # What it signs at DEBUG holds tokens of sessions.
            "botocore": {"level": "WARNING"},
            # A form that cannot be read is its sender's business, who is told.
            "python_multipart": {"level": "ERROR"},
            "uvicorn.access": {"level": "WARNING"},
            # A line for each page that is not there would let strangers fill a disk.
            "django.request": {"level": "ERROR"},
        },
    }
