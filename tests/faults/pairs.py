"""A model with two routes, to an upstream that is sick and to one that is well."""

import json

from tests import factories
from usage.models import UsageAttempt

#: Keys that no answer and no line of the log may hold.
SICK_KEY = "sk-sick-2f1c9a7be4d05836"
WELL_KEY = "sk-well-8b7d3e60c1a94f52"
HELLO = {"role": "user", "content": "Say hello."}


class Pair:
    """What is asked of the model `pair`, and what becomes of it.

    The chaos upstream serves both routes: it is told what to send to the models `sick` and
    `well`, and answers `well` if it is told nothing. The model `alone` has the sick route only,
    and one attempt.
    """

    def __init__(self, courier, chaos, key):
        self.courier = courier
        self.chaos = chaos
        self.key = key

    async def make(self, url=None, **fields):
        """Make both models. `url` is where the sick upstream is, if it is no part of chaos."""
        await self.courier.make(lambda: self._rows(url or self.chaos.url, fields))
        return self

    def _rows(self, url, fields):
        sick = factories.make_provider("sick", base_url=url, **fields)
        well = factories.make_provider("well", base_url=self.chaos.url)
        factories.make_upstream_key(sick, SICK_KEY)
        factories.make_upstream_key(well, WELL_KEY)
        for name, providers in (("pair", (sick, well)), ("alone", (sick,))):
            most = 3 if name == "pair" else 1
            model = factories.make_model(name, max_attempts=most, priced=False)
            factories.make_price(model)
            for priority, provider in enumerate(providers):
                factories.make_route(
                    model, provider, upstream_model=provider.name, priority=priority
                )

    async def ask(self, stream=False, *, model="pair", path="/v1/chat/completions", **body):
        body = {"model": model, "messages": [HELLO], "stream": stream, **body}
        return await self.courier.post(path, body, key=self.key)

    async def recover(self):
        """Have the sick upstream answer well, so that what it did before is forgotten."""
        for _ in range(2):
            assert (await self.ask()).status == 200

    async def attempts(self, reply):
        """(provider, outcome) of each upstream call, as they are on record."""
        await self.courier.record(reply.request_id)
        return await self.courier.make(lambda: _attempts(reply.request_id))

    async def spent_in_vain(self, reply):
        """Nano-dollars that are charged for calls whose answer nobody received."""
        rows = UsageAttempt.objects.filter(request_id=reply.request_id, received=False)
        return sum(await self.courier.make(lambda: list(rows.values_list("cost_nano", flat=True))))

    async def calls_on_record(self, reply):
        """How many upstream calls the attempts of a request were, as they are on record."""
        await self.courier.record(reply.request_id)
        rows = UsageAttempt.objects.filter(request_id=reply.request_id)
        return await self.courier.make(lambda: sum(rows.values_list("calls", flat=True)))

    def calls(self):
        """The models that the upstream was asked for, in order."""
        return [request.model for request in self.chaos.requests()]


def _attempts(request_id):
    rows = UsageAttempt.objects.filter(request_id=request_id).order_by("number")
    return [(row.provider_name, row.outcome) for row in rows]


async def survived(pair, reply, outcome, *, tries=1):
    """The well route has answered, after the sick one failed `tries` times with `outcome`."""
    assert reply.status == 200, reply.content
    assert is_whole(reply)
    assert await pair.attempts(reply) == [("sick", outcome)] * tries + [("well", "ok")]
    assert reply.headers["x-courier-attempts"] == str(tries + 1)
    told_no_secret(reply)


async def told(pair, reply, status, code):
    """The client was told of the failure, in Courier's own words, and so is the record."""
    assert (reply.status, reply.code) == (status, code), reply.content
    record = await pair.courier.record(reply.request_id)
    assert (record.outcome, record.status) == (code, status)
    assert await pair.attempts(reply) == [("sick", code)]
    told_no_secret(reply)


def is_whole(reply):
    """Whether a client takes this for a complete answer."""
    if reply.headers["content-type"].startswith("text/event-stream"):
        return reply.data[-1] == b"[DONE]"
    return bool(json.loads(reply.content)["choices"])


def told_no_secret(reply):
    told = repr(reply.headers) + reply.content.decode("latin-1")
    for secret in (SICK_KEY, WELL_KEY, "SECRET-OF-THE-UPSTREAM"):
        assert secret not in told
