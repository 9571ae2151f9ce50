"""The chaos upstream as tests hold it: what it shall send, and what it knows that happened.

    chaos.always("sick", *whole(error, status=503))           # every request for this model
    chaos.once("sick", head(), Pause(1), RESET)               # the next one, before those
    [request.key for request in chaos.requests("sick")]       # what it received
    chaos.answers("sick")[0].how                              # "complete", "left", "cut", "reset"

Steps are bytes, exactly as they go onto the wire, and `Pause`, `HEARD`, `Again`, `CUT`, `RESET` or
`STALL`. Without steps a model answers well, streaming if asked to, with token counts of its own
that `answers` tells; `words-40-0.05` says 40 words with 0.05 s before each.
"""

import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from tests.fakes.upstream import CUT, HEARD, JSON, RESET, SSE, STALL, Pause

ENDINGS = {CUT: "cut", RESET: "reset", STALL: "stall"}
CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Again:
    """The same bytes so many times (-1: without end), so many seconds apart."""

    data: bytes
    times: int = -1
    every_s: float = 0.0


@dataclass(frozen=True)
class Request:
    """What arrived. `headers` are pairs, names in lower case; times are of `time.monotonic`."""

    number: int
    connection: int
    at: float
    method: str
    path: str
    headers: list
    #: The provider's key that came with it.
    key: str
    model: str
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """How an answer went: `how` it ended, its bytes, and the tokens it told, (input, output)."""

    number: int
    model: str
    at: float
    how: str
    bytes: int
    tokens: tuple | None


class ChaosUpstream:
    """The process, from its start to its stop."""

    def __init__(self, record):
        self.record = Path(record)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.chaos", str(record)],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        ports = json.loads(self._process.stdout.readline())
        self.port = ports["port"]
        self._orders = socket.create_connection(("127.0.0.1", ports["orders"]))
        self._answers = self._orders.makefile("rb")
        self._begins_at = 0
        #: Whether it is to know what is passed on to clients.
        self._listens = False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def pid(self):
        return self._process.pid

    def always(self, model, *steps):
        """Answer every request for this model with these steps."""
        self._listens |= HEARD in steps
        self._order(do="always", model=model, steps=_written(steps))

    def once(self, model, *steps):
        """Answer the next request for this model with these steps. Several wait in line."""
        self._listens |= HEARD in steps
        self._order(do="once", model=model, steps=_written(steps))

    def listen_with_tls(self, certificate, key, **versions):
        """Listen on one more port, with this certificate; returns the port."""
        tls = {"certificate": str(certificate), "key": str(key), **versions}
        return self._order(do="listen", tls=tls)["port"]

    def notice(self):
        """One more piece of an answer was passed on to a client: what `HEARD` waits for."""
        if self._listens:
            self._order(do="notice")

    def forget(self):
        """Drop the steps, the connections, and from the view what was recorded."""
        self._order(do="forget")
        self._listens = False
        self._begins_at = self.record.stat().st_size

    def events(self, *kinds):
        """The record since the last `forget`, as it was written; of these kinds, if named."""
        with self.record.open("rb") as file:
            file.seek(self._begins_at)
            events = [json.loads(line) for line in file if line.endswith(b"\n")]
        return [event for event in events if not kinds or event["event"] in kinds]

    def requests(self, model=None):
        """What arrived, for one model or for all."""
        return [
            Request(
                **{name: event[name] for name in Request.__annotations__ if name != "body"},
                body=event["body"].encode("latin-1"),
            )
            for event in self.events("request")
            if model in {None, event["model"]}
        ]

    def answers(self, model=None):
        """The answers that have ended, for one model or for all."""
        return [
            Answer(**{name: event[name] for name in Answer.__annotations__})
            for event in self.events("answer")
            if model in {None, event["model"]}
        ]

    @property
    def open_connections(self):
        opened = {event["connection"] for event in self.events("connected")}
        closed = {event["connection"] for event in self.events("disconnected")}
        return len(opened - closed)

    def stop(self):
        self._answers.close()
        self._orders.close()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()

    def _order(self, **order):
        self._orders.sendall(json.dumps(order).encode() + b"\n")
        return json.loads(self._answers.readline())


def head(status=200, *, kind=JSON, length=None, **headers):
    """A head, as bytes. Without a length the body comes in chunks."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\n{framing}\r\n{more}\r\n".encode(
        "latin-1"
    )


def whole(body, status=200, *, kind=JSON, **headers):
    """The steps of an answer that is all there. `retry_after=5` is a header `retry-after: 5`."""
    return (head(status, kind=kind, length=len(body), **headers) + body,)


def chunked(data):
    """A piece of a body that comes in chunks."""
    return b"%x\r\n%s\r\n" % (len(data), data)


#: What ends a body that comes in chunks.
LAST_CHUNK = b"0\r\n\r\n"


def stream(*parts, ends=True, kind=SSE, **headers):
    """The steps of an event stream: frames, pauses and endings."""
    steps = [chunked(part) if isinstance(part, bytes) else part for part in parts]
    return (head(kind=kind, **headers), *steps, *([LAST_CHUNK] if ends else []))


def _written(steps):
    return [_step(step) for step in steps]


def _step(step):
    match step:
        case bytes():
            return step.decode("latin-1")
        case Pause():
            return {"pause": step.seconds}
        case _ if step is HEARD:
            return {"heard": 1}
        case Again():
            return {
                "again": step.data.decode("latin-1"),
                "times": step.times,
                "every": step.every_s,
            }
    return {"end": ENDINGS[step]}
