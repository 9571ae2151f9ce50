"""The base of every error that a client of the API may see."""

from __future__ import annotations

from typing import ClassVar


class CourierError(Exception):
    """An error with a meaning for the client: its status, type and code are on the class.

    `message` is a sentence for people. It never holds a secret, a prompt, or an
    upstream's raw body. `retry_after` is in seconds. `should_retry` tells official SDKs
    whether to try again by themselves (sent as `x-should-retry`); None leaves it to them.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = "internal_error"
    should_retry: ClassVar[bool | None] = None
    #: Whether the body names the request. Where it must not, the header still does.
    tells_request_id: ClassVar[bool] = True

    def __init__(
        self, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        #: Extra response headers, such as the rate-limit state at a refusal.
        self.headers: dict[str, str] = {}
