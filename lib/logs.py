"""One line per log event: JSON in production, plain text on a laptop."""

from __future__ import annotations

import logging
from typing import Any

import structlog

#: Events that concern security: certificates that do not hold, keys that are refused.
SECURITY = logging.getLogger("courier.security")

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
    last = [structlog.processors.format_exc_info, renderer] if as_json else [renderer]
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
        },
    }
