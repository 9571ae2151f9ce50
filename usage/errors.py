"""What a client may see of this layer."""

from __future__ import annotations

from lib.errors import CourierError


class SpoolUnavailable(CourierError):
    """What is used cannot be written down, so nothing may be used."""

    status = 503
    code = "usage_log_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "Usage cannot be recorded at the moment, so no request is served. Try again later.",
            retry_after=1,
        )


class Undelivered(Exception):
    """A message did not arrive. Says why, and quotes neither receiver nor address."""


class Unwanted(Undelivered):
    """The receiver wants no more messages at all."""
