"""Streams through whole processes: who does not read, who is dead, who waits for long."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time

import httpx
import openai
import pytest

from tests.e2e.client import Call
from tests.e2e.manifests import KEY, manifest
from tests.fakes.upstream import DONE, HELLO, OPENING, STALL, STOP, USAGE, Answer, Pause, chunk
from tests.faults.figures import figure
from tests.faults.upstream import Again, chunked, head
from tests.services import wait_for
from tests.soak import trials

pytestmark = pytest.mark.fault

NOT_READING = 200
#: Seconds of a look at whether a process has anything to do.
REST_S = 2
MEBIBYTE = 1024 * 1024
#: Seconds of an upstream's silence; what a balancer on the way would bear.
SILENCE_S = trials(35, 150)
BALANCER_S = 30
PAUSED = """
import socket, sys, time
place, request = (sys.argv[1], int(sys.argv[2])), sys.argv[3].encode().decode("unicode_escape")
connection = socket.create_connection(place)
connection.sendall(request.encode("latin-1"))
print("asked", flush=True)
time.sleep(600)
"""


def resident(courier):
    """Bytes of memory that the server has."""
    with open(f"/proc/{courier._process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def busy_s(process):
    """Seconds of a processor that a process has used."""
    with open(f"/proc/{process}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_at_rest(*processes):
    """Whether they do next to nothing for a while."""
    before = sum(map(busy_s, processes))
    time.sleep(REST_S)
    return sum(map(busy_s, processes)) - before < 0.05 * REST_S


async def test_r17_clients_that_do_not_read_cost_no_memory(launch, chaos):
    courier = launch(manifest(chaos.url, models=("endless",)))
    flood = chunked(chunk(" word") * 300)
    chaos.always("endless", head(kind="text/event-stream"), Pause(6), Again(flood))
    before = resident(courier)
    async with contextlib.AsyncExitStack() as stack:
        calls = [Call(courier, model="endless", stream=True) for _ in range(NOT_READING)]
        for call in calls:
            await stack.enter_async_context(call)
            call.writer.transport.pause_reading()
            await asyncio.sleep(0.02)
        await asyncio.to_thread(
            wait_for, lambda: len(not_read(chaos)) == NOT_READING, "all upstreams to wait", 60, 0.5
        )
        # Without end the upstreams send, so they rest only if they are not read.
        await asyncio.to_thread(
            wait_for, lambda: is_at_rest(courier._process.pid, chaos.pid), "the flood to stand", 60
        )
        grown = (resident(courier) - before) / MEBIBYTE
        for call in calls:
            call.reset()
    await asyncio.to_thread(
        wait_for, lambda: len(chaos.answers("endless")) == NOT_READING, "all to be left", 60
    )

    sent = sum(answer.bytes for answer in chaos.answers("endless")) / NOT_READING / MEBIBYTE
    figure("R17", f"+{grown:.0f} MB for {NOT_READING} clients", "<= +64 MB")
    print(f"\n+{grown:.1f} MB, {sent:.1f} MB sent to each")
    assert grown <= 64


def not_read(chaos):
    """The connections whose other end has ever been slower than the upstream."""
    return {event["connection"] for event in chaos.events("client does not read")}


class Namespace:
    """A machine of its own, on a cable that can be cut."""

    def __init__(self, number):
        self.name = f"courier-test-{number}"
        self.here, self.there = f"10.203.{number % 250}.1", f"10.203.{number % 250}.2"
        cable = f"ct{number % 100_000}"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "addr", "add", f"{self.here}/24", "dev", cable)
        run("ip", "link", "set", cable, "up")
        self.run("ip", "addr", "add", f"{self.there}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    def run(self, *command):
        run(*self._inside(command))

    def start(self, *command):
        return subprocess.Popen(self._inside(command), stdout=subprocess.PIPE)

    def cut(self):
        for chain in ("INPUT", "OUTPUT"):
            self.run("iptables", "-I", chain, "-j", "DROP")

    def _inside(self, command):
        return ("ip", "netns", "exec", self.name, *command)


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def elsewhere():
    lacks = [tool for tool in ("ip", "iptables") if not shutil.which(tool)]
    if os.geteuid() or lacks:
        pytest.skip(f"a network namespace takes root, ip and iptables; lacks {lacks or 'root'}")
    machine = Namespace(os.getpid())
    yield machine
    run("ip", "netns", "del", machine.name)


def test_r11_a_client_whose_machine_is_gone_is_noticed(launch, shared_upstream, elsewhere):
    courier = launch(manifest(shared_upstream.url), HOST="0.0.0.0")  # noqa: S104
    shared_upstream.default = lambda request: (
        Answer((OPENING, HELLO, STALL)) if request.json.get("stream") else Answer(before=(STALL,))
    )
    calls = [Call(courier, stream=stream) for stream in (True, False)]
    script = [sys.executable, "-c", PAUSED, elsewhere.here, str(courier.port)]
    clients = [
        elsewhere.start(*script, call.request.decode().encode("unicode_escape").decode())
        for call in calls
    ]
    try:
        for client in clients:
            assert client.stdout.readline() == b"asked\n"
        wait_for(lambda: shared_upstream.busy_connections == 2, "both calls", 20)
        time.sleep(1)
        elsewhere.cut()
        since = time.monotonic()
        wait_for(lambda: len(shared_upstream.departures) == 2, "both to be noticed", 120, 0.1)
    finally:
        for client in clients:
            client.kill()
            client.wait()
    noticed = sorted(at - since for at in shared_upstream.departures)

    figure("R11", f"dead peers noticed after {noticed[0]:.0f} and {noticed[1]:.0f} s", "<= 50 s")
    assert noticed[1] < 90
    courier.wait_for_records(2)
    assert set(courier.records("outcome")) == {"client_disconnected"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", ["chat", "completions", "responses"])
def test_r11_a_long_silence_is_nobodys_reason_to_hang_up(launch, shared_upstream, form):
    courier = launch(manifest(shared_upstream.url, timeouts={"first_byte": 300, "idle": 300}))
    shared_upstream.default = lambda request: Answer(
        (OPENING, HELLO, Pause(SILENCE_S), HELLO, STOP, USAGE, DONE)
    )
    hasty = httpx.Client(timeout=httpx.Timeout(BALANCER_S), trust_env=False)
    with openai.OpenAI(
        api_key=KEY, base_url=courier.url, http_client=hasty, max_retries=0
    ) as client:
        ask = {
            "chat": lambda: client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": "Hi"}], stream=True
            ),
            "completions": lambda: client.completions.create(
                model="tiny", prompt="Hi", stream=True
            ),
            "responses": lambda: client.responses.create(model="tiny", input="Hi", stream=True),
        }[form]
        events = list(ask())

    assert len(events) >= 3
    figure("R11", f"{SILENCE_S} s of silence, nobody hung up", "a sign every 15 s")
