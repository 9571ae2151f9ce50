"""The front door behind the proxy that is shipped: what one reads, the other reads too."""

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.client_address import client_address
from tests.courier_site.raw_requests import AMBIGUOUS, GET, POST, SECOND
from tests.courier_site.servers import serving
from tests.faults.figures import figure
from tests.faults.raw import talk
from tests.services import free_port, stop_process, wait_for

pytestmark = pytest.mark.skipif(
    not shutil.which("nginx"), reason="nginx is not installed: apt-get install nginx-light"
)

SITE = Path(__file__).parents[2] / "docker" / "nginx.conf"
MAIN = """\
daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log; {user}
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
    upstream gateways {{ server 127.0.0.1:{port} max_fails=0; }}
    {site}
}}
"""


@pytest.fixture
def seen():
    return []


@pytest.fixture
async def port(seen, tmp_path):
    """nginx as it is shipped, before a server of ours that notes what arrives."""

    async def application(scope, receive, send):
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        seen.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async with serving(application) as server:
        mine = free_port()
        process = start_nginx(tmp_path, mine, server.port)
        await asyncio.to_thread(wait_for, lambda: is_open(mine), "nginx", 20)
        yield mine
        await asyncio.to_thread(stop_process, process)


def start_nginx(directory, port, behind):
    site = SITE.read_text().replace("listen 8000;", f"listen 127.0.0.1:{port};")
    site = re.sub(r"(?m)^ *(resolver|set) .*$", "", site).replace("$gateways", "gateways")
    user = "user root;" if os.geteuid() == 0 else ""
    path = directory / "nginx.conf"
    path.write_text(MAIN.format(dir=directory, port=behind, site=site, user=user))
    return subprocess.Popen(["nginx", "-p", str(directory), "-c", str(path)])


def is_open(port):
    try:
        asyncio.run(asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 1))
    except OSError:
        return False
    return True


async def test_s01_behind_nginx_nothing_is_smuggled(port, seen):
    for number, (name, request) in enumerate(AMBIGUOUS.items(), 1):
        replies = await talk(port, request, quiet_s=0.05, within_s=3, half_close=True)
        assert len(replies) <= 1, name
        assert "/second" not in [scope["path"] for scope in seen], name
        # All so far: nginx may hand one on a moment after its client has been answered.
        assert len(seen) <= number, name
    figure("S01", f"{len(AMBIGUOUS)} ambiguous requests behind nginx: one answer each", "all")


async def test_s01_behind_nginx_what_is_clear_is_served(port, seen):
    body = b"content-length: 5\r\n\r\nabcde"
    replies = await talk(port, GET + b"\r\n" + POST + body + SECOND, answers=3)

    assert [reply.status for reply in replies] == [200] * 3
    assert [scope["path"] for scope in seen] == ["/", "/", "/second"]


async def test_s04_behind_nginx_a_client_is_who_it_is(port, seen, settings):
    settings.COURIER_TRUSTED_PROXIES = ["127.0.0.1/32"]
    client = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
    client[1].write(GET + b"x-forwarded-for: 8.8.8.8\r\nx_forwarded_for: 9.9.9.9\r\n\r\n")
    await client[0].readuntil(b"\r\n\r\n")
    client[1].close()

    assert client_address(seen[0]) == "127.0.0.2"
    told = [value for name, value in seen[0]["headers"] if name == b"x-forwarded-for"]
    assert told == [b"8.8.8.8, 127.0.0.2"]


@pytest.mark.fault
async def test_s02_a_head_that_does_not_come_is_not_waited_for_by_nginx_either(port):
    replies = await talk(port, GET, within_s=40)

    assert replies.was_closed
