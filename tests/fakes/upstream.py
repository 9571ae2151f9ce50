"""An upstream that answers by script, over real sockets, faults of the protocol included."""

import asyncio
import json
import socket
import struct
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from http import HTTPStatus

SSE = "text/event-stream"
JSON = "application/json"


@dataclass(frozen=True)
class Pause:
    """Wait so many seconds, then go on."""

    seconds: float


class Until:
    """Wait until this is true, then go on."""

    def __init__(self, condition):
        self.condition = condition


class Gate(Until):
    """Wait until the test opens it, whatever the time."""

    def __init__(self):
        self._opened = threading.Event()
        super().__init__(self._opened.is_set)

    def open(self):
        self._opened.set()


class _Sign:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


#: Close the connection without finishing the body.
CUT = _Sign("CUT")
#: Close it with a TCP reset.
RESET = _Sign("RESET")
#: Send nothing more, and wait for the peer to leave.
STALL = _Sign("STALL")
#: Wait until one more piece has been passed on to clients since this request came. What is sent
#: before and behind it then never arrives at once, as it may where the machine stands still.
HEARD = _Sign("HEARD")
#: Between two looks at what is waited for, in seconds.
LOOK_EVERY_S = 0.005


@dataclass(frozen=True)
class Answer:
    """Status and headers, then `parts` one by one: bytes, waits, and at most one ending."""

    parts: tuple = ()
    status: int = 200
    headers: dict = field(default_factory=dict)
    #: Parts played before the first byte of the head.
    before: tuple = ()
    #: Whether `parts` are all there is on the wire: no head, no framing.
    raw: bool = False


@dataclass(frozen=True)
class Request:
    """What arrived, as it arrived. Header names are in lower case."""

    method: str
    path: str
    headers: dict
    body: bytes
    at: float
    connection: int

    @property
    def json(self):
        return json.loads(self.body)

    def __getitem__(self, name):
        return self.json[name]


def frame(payload):
    """One event of a stream."""
    text = payload if isinstance(payload, str) else json.dumps(payload, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


def chunk(content=None, *, finish=None, model="model", **more):
    """One chunk of a chat completion, with a piece of text or a reason to finish."""
    delta = {} if content is None else {"content": content}
    return frame(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            **more,
        }
    )


def usage_of(input_tokens=7, output_tokens=3, **more):
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        **more,
    }


def usage_chunk(input_tokens=7, output_tokens=3, **more):
    """The last chunk before the end, if usage was asked for."""
    return frame(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": "model",
            "choices": [],
            "usage": usage_of(input_tokens, output_tokens, **more),
        }
    )


def completion(content="Hello there.", *, model="model", usage=None, **more):
    """A whole chat completion, as bytes."""
    message = {"role": "assistant", "content": content}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1700000000,
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage or usage_of(),
            **more,
        }
    ).encode()


def error_body(message="Something is wrong.", *, type="server_error", code=None):
    return json.dumps({"error": {"message": message, "type": type, "code": code}}).encode()


OPENING = frame(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "model",
        "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        ],
    }
)
HELLO = chunk("Hello")
STOP = chunk(finish="stop")
USAGE = usage_chunk()
DONE = frame("[DONE]")
STREAM = (OPENING, HELLO, chunk(" there."), STOP, USAGE, DONE)


def like_a_model(request):
    """What a well-behaved chat server answers, streaming if asked to."""
    if request.path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1.0]}]
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        body = {"object": "list", "data": data, "model": request["model"], "usage": usage}
        return Answer((json.dumps(body).encode(),))
    if request.json.get("stream"):
        return Answer(STREAM)
    return Answer((completion(model=request["model"]),))


class ScriptedUpstream:
    """An HTTP/1.1 server in a thread of its own.

    Answers given by `will_answer` are played in order, one per request. When none is
    left, the answer set for the request's model is played, else the default one.
    """

    def __init__(self, default=like_a_model):
        self.default = default
        self.requests = []
        #: Moments (time.monotonic) at which the peer left before its answer was complete.
        self.departures = []
        #: How many pieces were passed on to clients so far, for `HEARD`.
        self.passed_on = lambda: 0
        #: Requests per connection, by the connection's number.
        self.served = Counter()
        self._script = deque()
        self._by_model = {}
        self._connections = set()
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._serving = threading.Event()

    @property
    def port(self):
        return self._listener.getsockname()[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def open_connections(self):
        return len(self._connections)

    @property
    def busy_connections(self):
        """Connections with an answer under way."""
        return sum(connection.busy for connection in list(self._connections))

    def will_answer(self, *parts, status=200, headers=None, delay=0, after=None):
        """Answer the next request with these parts, `delay` seconds after it came.

        Or when what `after` waits for has come: a `Gate`, `Until` or `HEARD`.
        """
        self._script.append(Answer(parts, status, headers or {}, _before(delay, after)))

    def will_send_raw(self, *parts):
        """Answer the next request with exactly these bytes on the wire."""
        self._script.append(Answer(parts, raw=True))

    def will_not_answer(self, ending=STALL):
        """Leave the next request without a single byte: STALL, CUT or RESET."""
        self._script.append(Answer(before=(ending,)))

    def always(self, *parts, status=200, headers=None, delay=0, after=None):
        """Answer every request for which nothing else is set with these parts."""
        answer = Answer(parts, status, headers or {}, _before(delay, after))
        self.default = lambda request: answer

    def for_model(self, model, *parts, status=200, headers=None, delay=0, after=None):
        """Answer requests for this model, and only those, with these parts."""
        self._by_model[model] = Answer(parts, status, headers or {}, _before(delay, after))

    def forget(self):
        """Drop what was recorded and what was still to be answered."""
        self._script.clear()
        self.requests.clear()
        self.departures.clear()

    def answer_to(self, request):
        if self._script:
            return self._script.popleft()
        if self._by_model and request.body:
            model = json.loads(request.body).get("model")
            if model in self._by_model:
                return self._by_model[model]
        return self.default(request)

    def start(self):
        self._thread.start()
        self._serving.wait()
        return self

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._listener.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.stop()

    def _serve(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.create_server(lambda: _Connection(self), sock=self._listener)
        self._loop.run_until_complete(server)
        self._serving.set()
        self._loop.run_forever()
        for connection in list(self._connections):
            connection.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


class _Connection(asyncio.Protocol):
    """One client: reads requests one after the other and plays an answer to each."""

    numbers = iter(range(1, 1 << 62))

    def __init__(self, upstream):
        self.upstream = upstream
        self.number = next(self.numbers)
        self.buffer = bytearray()
        self.task = None
        self.writable = asyncio.Event()
        self.writable.set()

    @property
    def busy(self):
        return self.task is not None

    def connection_made(self, transport):
        self.transport = transport
        self.upstream._connections.add(self)
        # asyncio sets it only on sockets that were made with the protocol's number.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, error):
        self.upstream._connections.discard(self)
        if self.task is not None:
            self.upstream.departures.append(time.monotonic())
            self.task.cancel()
        self.task = None

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()

    def data_received(self, data):
        self.buffer += data
        self._next_request()

    def close(self):
        if self.task is not None:
            self.task.cancel()
            self.task = None
        self.transport.abort()

    def _next_request(self):
        if self.task is not None:
            return
        request = self._read_request()
        if request is None:
            return
        self.upstream.requests.append(request)
        self.upstream.served[self.number] += 1
        self.task = asyncio.get_running_loop().create_task(self._play(request))

    def _read_request(self):
        head, separator, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        if not separator:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        body, used = _body(headers, rest)
        if body is None:
            return None
        del self.buffer[: len(head) + 4 + used]
        method, path, _ = first.split(" ")
        return Request(method, path, headers, body, time.monotonic(), self.number)

    async def _play(self, request):
        self.passed_on = self.upstream.passed_on()
        answer = self.upstream.answer_to(request)
        for step in answer.before:
            if await self._end_or_wait(step):
                return
        chunked = not answer.raw and not _is_whole(answer.parts)
        if not answer.raw:
            self.transport.write(_head(answer, chunked))
        for part in answer.parts:
            if not isinstance(part, bytes):
                if await self._end_or_wait(part):
                    return
                continue
            await self.writable.wait()
            self.transport.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
        if chunked:
            self.transport.write(b"0\r\n\r\n")
        self.task = None
        self._next_request()

    def _is_heard(self):
        return self.upstream.passed_on() >= self.passed_on

    async def _has_waited(self, step):
        """Play a wait. Returns whether it is one."""
        if step is HEARD:
            self.passed_on += 1
            step = Until(self._is_heard)
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Until):
            while not step.condition():
                await asyncio.sleep(LOOK_EVERY_S)
        return isinstance(step, Pause | Until)

    async def _end_or_wait(self, step):
        """Play a wait or an ending. Returns whether the connection is done for."""
        if await self._has_waited(step):
            return False
        if step is STALL:
            await asyncio.Event().wait()
        self.task = None
        if step is RESET:
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            self.transport.abort()
        else:
            self.transport.close()
        return True


def _before(delay, after):
    """The steps before the head of an answer that comes so many seconds, or so, late."""
    if after is not None:
        return (after,)
    return (Pause(delay),) if delay else ()


def _is_whole(parts):
    """Whether the body is one piece, to be sent with its length."""
    return len(parts) <= 1 and all(isinstance(part, bytes) for part in parts)


def _head(answer, chunked):
    first = next((part for part in answer.parts if isinstance(part, bytes)), b"")
    streamed = first.startswith((b"data:", b"event:", b":"))
    headers = {"content-type": SSE if streamed else JSON}
    if chunked:
        headers["transfer-encoding"] = "chunked"
    else:
        headers["content-length"] = str(len(first))
    headers |= {name.lower(): value for name, value in answer.headers.items()}
    try:
        reason = HTTPStatus(answer.status).phrase
    except ValueError:
        reason = "Unknown"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} {reason}\r\n{lines}\r\n".encode("latin-1")


def _body(headers, rest):
    """The request's body and how many bytes it took; (None, 0) if it is not all there yet."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _chunked_body(rest)
    length = int(headers.get("content-length", 0))
    return (rest[:length], length) if len(rest) >= length else (None, 0)


def _chunked_body(rest):
    body, position = b"", 0
    while True:
        end = rest.find(b"\r\n", position)
        if end < 0:
            return None, 0
        size = int(rest[position:end].split(b";")[0], 16)
        start = end + 2
        if len(rest) < start + size + 2:
            return None, 0
        body += rest[start : start + size]
        position = start + size + 2
        if size == 0:
            return body, position
