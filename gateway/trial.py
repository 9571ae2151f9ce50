"""Questions to one target that nobody else asks: put like real ones, and added up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import orjson

from gateway import attempt, batches, errors, failover, metering, sse
from gateway.attempt import OpenStream, WholeAnswer
from gateway.dialects.base import ClientDialect, Json
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.errors import UpstreamError
from gateway.failover import Attempts
from gateway.question import Question
from lib.tokens import TokenUsage, total_of
from registry.snapshot import Target

T = TypeVar("T")

#: Seconds until the first byte of an answer, over both tries.
PATIENCE_S = 120.0
#: A failure that may pass is tried once more.
MOST_TRIES = 2
#: The two names of the bound of an output. Some servers know one of these, and some the other.
BOUNDS = ("max_tokens", "max_completion_tokens")
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class NotThere(Exception):
    """The trait is missing. The message is a sentence for people, without a vendor's words."""


class NotTried(Exception):
    """The trait could not be looked at. The message says why."""


@dataclass(slots=True)
class Told:
    """A whole answer, in the format that the question was in."""

    body: Any
    usage: TokenUsage | None


@dataclass(slots=True)
class Heard:
    """A stream that was read to its end."""

    chunks: list[Any] = field(default_factory=list)
    usage: TokenUsage | None = None
    #: Seconds until its first output, and the longest pause after that.
    first_s: float = 0.0
    longest_pause_s: float = 0.0


class Trial:
    """What is asked of one target. Adds up what that used, and remembers refusals for rate."""

    def __init__(self, target: Target) -> None:
        #: What a model is found to lack must not be left out of the question beforehand.
        self.target = target
        self.used: list[TokenUsage] = []
        self.rate_limits: list[UpstreamError] = []
        #: Whether it has answered at all.
        self.has_answered = False
        self._bound = BOUNDS[0]

    @property
    def usage(self) -> TokenUsage:
        return total_of(self.used)

    def begin_anew(self) -> None:
        """What was used until now has been told."""
        self.used = []

    async def chat(self, said: Any, bound: int, **more: Any) -> Told:
        """The answer to one message of the user's."""
        try:
            return await self._chat(said, bound, more)
        except errors.UpstreamRejected:
            if self.has_answered or self._bound != BOUNDS[0]:
                raise
        # Not every refusal tells that it is this name that is not known.
        self._bound = BOUNDS[1]
        return await self._chat(said, bound, more)

    async def _chat(self, said: Any, bound: int, more: Json) -> Told:
        question = self._question(said, bound, more)
        whole = await self._first(question, attempt.whole_answer)
        return self._told(question, whole)

    async def embeddings(self, inputs: str | list[str]) -> Told:
        question = _put(openai_embeddings, {"input": inputs})
        return self._told(question, await self._first(question, batches.whole_answer))

    async def at_another(self, upstream_model: str, said: str) -> None:
        """Ask the same provider for another model."""
        question = self._question(said, 16, {})
        target = replace(self.target, upstream_model=upstream_model)
        self._told(question, await attempt.whole_answer(question, target, PATIENCE_S))

    async def once(self, said: str) -> None:
        """One short question, without a second try."""
        question = self._question(said, 1, {})
        self._told(question, await attempt.whole_answer(question, self.target, PATIENCE_S))

    @asynccontextmanager
    async def stream(self, said: str, bound: int, **more: Any) -> AsyncIterator[OpenStream]:
        """A stream whose first output has come. Closed, and accounted for, afterwards."""
        question = self._question(said, bound, {"stream": True, **more})
        stream = await self._first(question, attempt.open_stream)
        try:
            self.has_answered = True
            self._expect_all_sent(stream.dropped)
            yield stream
        finally:
            await stream.close()
            watch, model = stream.watch, self.target.upstream_model
            counted = metering.metered(question, watch.usage, watch.seen_text(), model)
            self.used.append(counted.usage)

    async def heard(self, said: str, bound: int, **more: Any) -> Heard:
        """The stream that answers, read to its end. Raises NotThere if it breaks off."""
        now = asyncio.get_running_loop().time
        heard = Heard()
        async with self.stream(said, bound, **more) as stream:
            heard.first_s = now() - stream.started_at
            heard.chunks += _parsed(stream.held)
            async for frames, pause_s in _timed(stream, self.target.idle_timeout_s):
                heard.longest_pause_s = max(heard.longest_pause_s, pause_s)
                heard.chunks += _parsed(stream.watch.see(frames))
                if stream.watch.failure:
                    raise NotThere("The provider reported an error inside its stream.")
            heard.chunks += _parsed(attempt.closed(stream)) if not stream.watch.is_complete else []
            if not stream.watch.is_complete:
                raise NotThere("The stream ended without the mark of its end.")
            heard.usage = stream.watch.usage
        return heard

    def _question(self, said: Any, bound: int, more: Json) -> Question:
        messages = [{"role": "user", "content": said}]
        return _put(openai_chat, {"messages": messages, self._bound: bound, **more})

    async def _first(
        self, question: Question, ask: Callable[[Question, Target, float], Awaitable[T]]
    ) -> T:
        now = asyncio.get_running_loop().time
        attempts = Attempts(most=MOST_TRIES, deadline=now() + PATIENCE_S, least_s=PATIENCE_S)
        try:
            return await failover.first_success([self.target], partial(ask, question), attempts)
        finally:
            failed = [error for _, error in attempts.log if error]
            self.rate_limits += [e for e in failed if isinstance(e, errors.UpstreamRateLimited)]

    def _told(self, question: Question, whole: WholeAnswer) -> Told:
        self.has_answered = True
        model = self.target.upstream_model
        self.used.append(metering.metered(question, whole.usage, whole.said, model).usage)
        self._expect_all_sent(whole.dropped)
        return Told(orjson.loads(whole.content), whole.usage)

    def _expect_all_sent(self, dropped: Sequence[str]) -> None:
        if dropped:
            names = ", ".join(dropped)
            raise NotThere(f"Courier has to leave out {names}: the provider has no place for it.")


def _put(dialect: ClientDialect, asked: Json) -> Question:
    body = {"model": "certification", **asked}
    return Question(dialect, "certification", orjson.dumps(body), body, bool(asked.get("stream")))


async def _timed(stream: OpenStream, longest_s: float) -> AsyncIterator[tuple[bytes, float]]:
    """Runs of frames, each with the seconds that it was waited for."""
    now = asyncio.get_running_loop().time
    rest = aiter(stream.rest)
    while not stream.watch.is_complete:
        since = now()
        try:
            async with asyncio.timeout(longest_s):
                frames = await anext(rest)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise NotThere(
                f"No event came for {longest_s:g} seconds, which is the provider's time-out."
            ) from None
        yield frames, now() - since


def _parsed(frames: bytes) -> list[Any]:
    data = (sse.data_of(frame) for frame in sse.split(frames) if frame)
    return [orjson.loads(each) for each in data if each and each.strip() != b"[DONE]"]


def words_on(error: UpstreamError) -> str:
    """What a failure was, without a word of the provider's but a code."""
    if isinstance(error, errors.UpstreamRejected):
        code = error.code if error.code and _CODE.fullmatch(error.code) else ""
        return f"The provider refused the request: status {error.status}{code and f', {code}'}."
    return error.message
