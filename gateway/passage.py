"""Bodies on their way back: sound, images and text are passed on as they come, and never kept.

A body that breaks off is never ended properly, so that nobody takes half of it for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from gateway import metering
from gateway.attempt import OpenBody
from gateway.metering import Metered
from gateway.question import Question
from gateway.relay import Relay
from lib.errors import CourierError

if TYPE_CHECKING:
    from gateway.exchange import Exchange


class Passage(Relay):
    """An answer that is passed on piece by piece."""

    def __init__(self, body: OpenBody, exchange: Exchange) -> None:
        super().__init__(body, exchange)
        self.body = body
        self._size = len(body.held)

    async def _relay(self) -> None:
        headers = {"content-type": self.body.content_type, **self.exchange.answer_headers()}
        await self.reply.begin_body(headers.items())
        last = await self._pass_on()
        self.exchange.complete(self._metered())
        await self.reply.write(last, more=False)

    async def _pass_on(self) -> bytes:
        """Pass on all but the last byte, which the record has to precede. Returns that one."""
        held, self.body.held = self.body.held, b""
        await self.reply.write(held[:-1])
        last = held[-1:]
        async for piece in self.body.answer:
            self.heard_at = self._now()
            self._see(piece)
            await self.reply.write(last + piece[:-1])
            last = piece[-1:]
        self._close()
        return last

    def _see(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > settings.COURIER_MAX_ANSWER:
            raise self._interrupted("sent more than it may")
        self.body.watch.see(piece)

    def _close(self) -> None:
        try:
            self.body.watch.close()
        except ValueError as error:
            raise self._interrupted("ended its answer") from error
        if self.body.watch.failure is not None:
            raise self._interrupted("reported a failure")

    def _metered(self) -> Metered:
        return metered(self.exchange.question, self.body)

    async def _tell(self, error: CourierError) -> None:
        self.reply.break_off()

    async def _read_on(self) -> None:
        async for piece in self.body.answer:
            self._see(piece)
        self._close()


def metered(question: Question, body: OpenBody) -> Metered:
    """What an answer used, of which so much has been seen."""
    watch, model = body.watch, body.target.upstream_model
    said = watch.seen_text() if metering.lacks_output(question, watch.usage) else ""
    return metering.metered(question, watch.usage, said, model)
