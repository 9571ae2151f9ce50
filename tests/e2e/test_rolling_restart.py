"""Two instances behind nginx, restarted one after the other while clients ask."""

import asyncio
import collections
import contextlib
import itertools
import os
import re
import shutil
import subprocess
from types import SimpleNamespace

import pytest

from tests.e2e.client import BROKEN, Reply, ask_patiently
from tests.e2e.courier import CHECKOUT, Courier
from tests.e2e.manifests import manifest
from tests.fakes.upstream import DONE, HELLO, OPENING, STOP, USAGE, Answer, Pause, completion
from tests.faults.figures import figure
from tests.services import free_port, stop_process, wait_for
from tests.soak import trials

pytestmark = pytest.mark.fault

RATE = trials(40, 100)
ROUNDS = trials(1, 3)
STREAM = (OPENING, HELLO, Pause(0.5), HELLO, STOP, USAGE, DONE)
MAIN = """\
daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log; {user}
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
    upstream gateways {{ {servers} }}
    {site}
}}
"""


@pytest.fixture
def couriers(launch, shared_upstream, tmp_path_factory):
    settings = manifest(shared_upstream.url)
    first = launch(settings, database="postgres")
    second = Courier(tmp_path_factory.mktemp("second"), first.database)
    for name in ("secret_key", "courier_encryption_keys", "courier_key_pepper"):
        secret = (first.directory / "secrets" / name).read_text().strip()
        second.environment[name.upper()] = secret
    yield first, second.start()
    second.stop()


@pytest.fixture
def proxy(couriers, tmp_path):
    """The shipped configuration of nginx, but for Docker's name server."""
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    port = free_port()
    site = (CHECKOUT / "docker" / "nginx.conf").read_text()
    site = site.replace("listen 8000;", f"listen 127.0.0.1:{port};").replace(
        "$gateways", "gateways"
    )
    site = re.sub(r"(?m)^ *(resolver|set) .*$", "", site)
    servers = " ".join(f"server 127.0.0.1:{one.port} max_fails=0;" for one in couriers)
    user = "user root;" if os.geteuid() == 0 else ""
    path = tmp_path / "nginx.conf"
    path.write_text(MAIN.format(dir=tmp_path, servers=servers, site=site, user=user))
    process = subprocess.Popen(["nginx", "-p", str(tmp_path), "-c", str(path)])
    with contextlib.closing(SimpleNamespace(port=port, close=lambda: stop_process(process))) as it:
        gateway = SimpleNamespace(origin=f"http://127.0.0.1:{port}")
        wait_for(lambda: Courier.status(gateway, "/health/ready") == 200, "nginx", 20)
        yield it


@pytest.mark.timeout(600)
async def test_r14_a_rolling_restart_loses_nothing(couriers, proxy, shared_upstream):
    shared_upstream.default = lambda request: (
        Answer(STREAM) if request.json.get("stream") else Answer((completion(),))
    )
    replies, asking = [], set()
    restarting = asyncio.ensure_future(asyncio.to_thread(restart_all, couriers))
    for number in itertools.count():
        if restarting.done():
            break
        task = asyncio.ensure_future(ask(proxy, stream=number % 3 == 0))
        asking.add(task)
        task.add_done_callback(asking.discard)
        task.add_done_callback(lambda done: replies.append(done.result()))
        await asyncio.sleep(1 / RATE)
    await asyncio.gather(*asking)
    await restarting

    failed = [reply for reply in replies if not reply.whole]
    figure("R14", f"{len(failed)} of {len(replies)} failed at {RATE} rps", "0")
    print(f"\n{len(failed)} of {len(replies)} failed", collections.Counter(map(how, failed)))
    assert failed == []


def how(reply):
    return reply.status, reply.body[:80]


def restart_all(couriers):
    for _ in range(ROUNDS):
        for courier in couriers:
            courier.stop()
            courier.start()


async def ask(proxy, **body):
    try:
        return await ask_patiently(proxy, **body)
    except BROKEN as error:
        return Reply(body=repr(error).encode())
