"""What a kind of upstream must know about itself: where, how signed, what its errors mean."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

import orjson

from gateway import errors
from gateway.dialects.base import Dialect, Drops, Json, UpstreamDialect, items, mapping
from gateway.errors import UpstreamError
from lib.json_reading import loads


class Addressee(Protocol):
    """What a provider needs to know of a target."""

    @property
    def provider_name(self) -> str: ...
    @property
    def base_url(self) -> str: ...
    @property
    def api_key(self) -> str: ...
    @property
    def upstream_model(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Any]: ...


class Form(Protocol):
    """A body in pieces, which come as they are sent."""

    @property
    def length(self) -> int | None:
        """In bytes, where that is known."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Message:
    """What is put to a provider, in a format that it speaks."""

    dialect: UpstreamDialect
    body: bytes | Form = field(repr=False)
    streams: bool = False
    #: Headers of the client's that the format has a meaning for.
    told: Mapping[str, str] = field(default_factory=dict, repr=False)
    content_type: str = "application/json"


#: A vendor's departure from its format: changes the parsed body, and notes what it takes out.
Quirk = Callable[[Json, Drops], None]


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One HTTP request to a provider, ready to send."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | Form = field(repr=False)


#: The longest that a provider may put us off, in seconds.
LONGEST_RETRY_AFTER = 86_400.0
#: What is shorter between the colons of a key may be any word.
SHORTEST_SECRET = 12
#: How providers say that a request is too long for the model: by a code or type, else in words
#: (OpenAI and what speaks like it, llama.cpp, Anthropic, Gemini, Bedrock, Cohere, TGI).
_TOO_LONG_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_TOO_LONG = re.compile(
    r"context (length|window|limit|size)|(prompt|input) is too long|input token count .*exceeds"
    r"|too many (input )?tokens|max_new_tokens`? must be <=",
    re.IGNORECASE,
)
#: And that their rules do not allow what is in it.
_REFUSED_CODES = frozenset(
    {"content_filter", "content_policy_violation", "moderation_blocked", "invalid_prompt"}
)
_REFUSED = re.compile(
    r"content (filtering|management|safety) policy|usage policy|safety system", re.IGNORECASE
)
#: How providers say that an account has no money or quota left, whatever the status.
_OUT_OF_CREDIT = frozenset(
    {"insufficient_quota", "billing_error", "billing_hard_limit_reached", "insufficient_balance"}
)
#: And what a 403 means where that is told: the key, or rather the model.
_BAD_KEY = frozenset({"invalid_api_key", "account_deactivated", "api_key_disabled"})
_NO_MODEL = frozenset({"model_not_found", "model_not_allowed", "model_access_denied"})
#: The client's own faults: a provider's words about them are meant for the client.
_CLIENT_FAULTS = frozenset({400, 409, 413, 415, 422})


class Provider:
    """One kind of upstream.

    Subclass it, set the class attributes, and override a method only where the vendor
    departs from the common way (OpenAI's).
    """

    kind: ClassVar[str]
    #: Path of each dialect that the vendor speaks, behind the base URL. Of several for one
    #: task, the first is what clients of other formats are translated to. `{model}` stands
    #: for the upstream model's name.
    paths: ClassVar[Mapping[UpstreamDialect, str]]
    #: What every body goes through on its way out. With none, bytes pass as they are.
    quirks: ClassVar[Sequence[Quirk]] = ()
    #: What bodies go through besides that Courier itself wrote for clients of other formats.
    translated_quirks: ClassVar[Sequence[Quirk]] = ()
    #: The most inputs that the vendor takes in one call, by task; none: as many as one likes.
    #: What an administrator says of a model or a route goes before it.
    batch_limits: ClassVar[Mapping[str, int]] = {}

    #: Whether the vendor keeps answers, so that a later request can go on from one.
    keeps_answers: ClassVar[bool] = False

    def dialect_for(self, client: Dialect, target: Addressee) -> UpstreamDialect | None:
        """The dialect to speak with this vendor for such a client; None if it has none."""
        of_the_task = (dialect for dialect in self.paths if dialect.task == client.task)
        spoken = [dialect for dialect in of_the_task if self.speaks(dialect, target)]
        own = (dialect for dialect in spoken if dialect is client)
        return next(own, spoken[0] if spoken else None)

    def speaks(self, dialect: UpstreamDialect, target: Addressee) -> bool:
        """Whether this very server speaks one of the vendor's formats."""
        return True

    def keeps_state(self, dialect: Dialect, target: Addressee) -> bool:
        """Whether what a format refers to instead of saying it is known to this very server."""
        keeps = self.keeps_answers or dialect.name in items(target.options.get("keeps"))
        return keeps and self.dialect_for(dialect, target) is dialect

    def request(self, target: Addressee, message: Message) -> UpstreamRequest:
        headers = {
            **message.told,
            **self.headers(target),
            "content-type": message.content_type,
        }
        return UpstreamRequest(self.url(target, message), headers, message.body)

    def url(self, target: Addressee, message: Message) -> str:
        path = self.paths[message.dialect]
        return target.base_url + path.replace("{model}", quote(target.upstream_model, safe=""))

    def headers(self, target: Addressee) -> Mapping[str, str]:
        """Every header of Courier's own that goes out."""
        return {
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": "courier",
            **self.credentials(target),
        }

    def credentials(self, target: Addressee) -> Mapping[str, str]:
        """The headers that say who is calling."""
        return {"authorization": f"Bearer {target.api_key}"} if target.api_key else {}

    def error(
        self, target: Addressee, status: int, headers: Mapping[str, str], content: bytes
    ) -> UpstreamError:
        """What an answer other than 2xx means. Status decides.

        Words are looked at only where the request itself is refused, for the two reasons that
        another model may not have.
        """
        name = target.provider_name
        after = retry_after(headers)
        if 300 <= status < 400:
            return errors.UpstreamRedirect(f"Provider {name!r} answered with a redirect.")
        if status in {401, 402, 403, 429} and (found := _of_the_key(name, status, content, after)):
            return found
        if status == 404:
            return errors.UpstreamModelMissing(
                f"Provider {name!r} does not have this model, or not at this endpoint."
            )
        if status == 429:
            return errors.UpstreamRateLimited(
                f"Provider {name!r} is at its rate limit.", retry_after=after
            )
        if status in _CLIENT_FAULTS:
            return _rejected(name, status, content, target.api_key)
        if status == 408 or status >= 500:
            return errors.UpstreamUnavailable(
                f"Provider {name!r} failed with status {status}.", retry_after=after
            )
        return errors.UpstreamBadResponse(f"Provider {name!r} answered with status {status}.")

    def stream_error(self, target: Addressee, failure: Json) -> UpstreamError:
        """What an error inside a stream with status 200 means, before any output."""
        if _kind_of_refusal(failure, "") is not errors.UpstreamRejected:
            return self.error(target, 400, {}, orjson.dumps({"error": failure}))
        status = failure.get("status") or failure.get("code")
        if isinstance(status, str) and status.isdigit():
            status = int(status)
        if not isinstance(status, int) or not 400 <= status < 600:
            status = 503
        return self.error(target, status, {}, orjson.dumps({"error": failure}))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a provider asks us to wait (RFC 9110, section 10.2.3), if it says so.

    OpenAI and Azure say it to the millisecond too, in a header of their own.
    """
    exact = headers.get("retry-after-ms", "").strip()
    given = headers.get("retry-after", "").strip()
    if not exact and not given:
        return None
    try:
        seconds = float(exact) / 1000 if exact else float(given)
    except ValueError:
        seconds = _seconds_until(given)
    if seconds != seconds:
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _seconds_until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
        return (moment - type(moment).now(tz=moment.tzinfo)).total_seconds()
    except (ValueError, TypeError):
        return float("nan")


def _of_the_key(
    name: str, status: int, content: bytes, after: float | None
) -> UpstreamError | None:
    """What refuses Courier's own key, in which way; None where something else is meant."""
    error = _error_object(content)
    words = {word for field in ("code", "type") if isinstance(word := error.get(field), str)}
    if status == 402 or words & _OUT_OF_CREDIT:
        return errors.UpstreamOutOfCredit(
            f"The account at provider {name!r} has no credit left.", retry_after=after
        )
    if status == 403 and words & _NO_MODEL:
        return errors.UpstreamModelMissing(f"Provider {name!r} does not have this model for us.")
    refused = f"Provider {name!r} refused Courier's own key."
    if status == 401 or words & _BAD_KEY:
        return errors.UpstreamAuthFailed(refused)
    if status == 403:
        forbidden = errors.UpstreamForbidden(refused)
        forbidden.is_in_its_words = bool(error)
        return forbidden
    return None


def _rejected(name: str, status: int, content: bytes, secret: str) -> UpstreamError:
    error = _error_object(content)
    message, code, param = (
        _unless_quoting(secret, error.get(field), longest)
        for field, longest in (("message", 2000), ("code", 200), ("param", 200))
    )
    kind = _kind_of_refusal(error, message or "")
    return kind(
        message or f"Provider {name!r} rejected the request.",
        status=status,
        code=code,
        param=param,
    )


def _kind_of_refusal(error: Mapping[str, Any], message: str) -> type[errors.UpstreamRejected]:
    """Whether the request is too long, or its content not allowed, or wrong in another way."""
    told = {each for each in (error.get("code"), error.get("type")) if isinstance(each, str)}
    if told & _TOO_LONG_CODES or _TOO_LONG.search(message):
        return errors.RequestTooLong
    if told & _REFUSED_CODES or _REFUSED.search(message):
        return errors.ContentRefused
    return errors.UpstreamRejected


def _unless_quoting(secret: str, value: Any, longest: int) -> str | None:
    """The beginning of a text of the provider's, unless it holds Courier's own key."""
    if not isinstance(value, str) or any(part in value for part in _parts(secret)):
        return None
    return value[:longest]


def _parts(secret: str) -> list[str]:
    """The secrets in a key: some vendors' have an id, a secret and a token of a session."""
    parts = [part for part in secret.split(":") if len(part) >= SHORTEST_SECRET]
    return parts or [secret] if secret else []


def _error_object(content: bytes) -> Mapping[str, Any]:
    try:
        body = loads(content)
    except ValueError:
        return {}
    error = mapping(body).get("error")
    if isinstance(error, str):
        return {"message": error}
    if isinstance(mapping(body).get("detail"), str):
        return {"message": body["detail"]}  # Jina, Voyage, and what is made with FastAPI
    # vLLM and others put the fields at the top.
    return mapping(error) or mapping(body)
