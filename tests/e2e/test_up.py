"""`manage.py up`, as a person would use it."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.services import free_port, wait_for

CHECKOUT = Path(__file__).parents[2]
OURS = ("COURIER_", "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PORT", "HOST", "DJANGO_")
VENDORS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")
MANIFEST = """\
version: 1
providers: [{name: local, kind: echo}]
models:
  - {name: tiny, routes: [{provider: local, upstream_model: tiny}], prices: [{free: true}]}
teams: [{name: research}]
keys: [{name: notebook, team: research}]
"""


class Up:
    """One `manage.py up`, with what it printed."""

    def __init__(self, directory, port, **environment):
        self.port = port
        self._log = directory / "up.log"
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(OURS) and name not in VENDORS
        }
        place = {"COURIER_DATA_DIR": str(directory), "PORT": str(port)}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=CHECKOUT,
                env=inherited | place | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def printed(self):
        return self._log.read_text()

    def wait_for_banner(self):
        wait_for(
            lambda: "Ctrl-C stops it." in self.printed or self.process.poll() is not None,
            "the banner",
            within_s=120,
        )
        assert "Ctrl-C stops it." in self.printed, self.printed
        return self

    @property
    def curl(self):
        return re.search(r"^  (curl .*)$", self.printed, re.MULTILINE)[1]

    def is_ready(self):
        with contextlib.suppress(OSError):
            ready = f"http://127.0.0.1:{self.port}/health/ready"
            return urllib.request.urlopen(ready, timeout=30).status == 200

    def processes(self):
        """Ids of all processes that work on this port's installation."""
        marker = f"PORT={self.port}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and marker in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def interrupt(self):
        """Ctrl-C. Returns the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(120)

    def kill(self):
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def up(tmp_path):
    with contextlib.ExitStack() as stack:

        def up(port=None, **environment):
            started = Up(tmp_path, port or free_port(), **environment)
            stack.callback(started.kill)
            return started

        yield up


def rows(directory):
    """The configuration in the database, as text."""
    with contextlib.closing(sqlite3.connect(directory / "courier.sqlite3")) as database:
        lines = database.iterdump()
        return [line for line in lines if re.search(r"INTO \"(registry|accounts)_", line)]


def answer(curl):
    """What the printed line brings, when it is pasted: the answer's text."""
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=120)
    events = [line[6:] for line in done.stdout.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]", done.stdout
    chunks = [json.loads(event) for event in events[:-1]]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


def test_it_starts_answers_and_stops(up, tmp_path):
    first = up().wait_for_banner()

    assert answer(first.curl) == "Hello"
    assert re.search(r"Sign in  admin   password \S+", first.printed)
    assert len(first.processes()) >= 3

    assert first.interrupt() == 0
    assert first.processes() == []
    assert "Traceback" not in first.printed

    before = rows(tmp_path)
    second = up().wait_for_banner()
    assert answer(second.curl) == "Hello"
    assert "password was set before" in second.printed
    second.interrupt()
    assert rows(tmp_path) == before


def test_an_open_stream_does_not_keep_it_from_stopping(up):
    started = up(COURIER_DRAIN="60").wait_for_banner()
    words = " ".join(["word"] * 5)
    slow = started.curl.replace('"echo"', '"chaos-slow"').replace('"Hello"', f'"{words}"')
    with subprocess.Popen(["bash", "-c", slow], stdout=subprocess.PIPE) as streaming:
        streaming.stdout.readline()

        assert started.interrupt() == 0


def test_a_killed_parent_leaves_no_child(up):
    started = up().wait_for_banner()

    started.process.kill()
    started.process.wait()

    wait_for(lambda: not started.processes(), "all children to end", within_s=120)


def test_a_server_that_died_is_started_again(up):
    started = up().wait_for_banner()
    server = next(
        pid
        for pid in started.processes()
        if b"courier_site.serve" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )

    os.kill(server, signal.SIGKILL)

    wait_for(lambda: "The server 1 ended" in started.printed, "the news")
    wait_for(started.is_ready, "the server to be ready again", within_s=120)
    assert answer(started.curl) == "Hello"


def test_a_port_in_use_is_told_at_once(up, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        started = up(taken.getsockname()[1])

        assert started.process.wait(120) == 1

    assert started.printed == (
        f"The address 127.0.0.1:{started.port} is in use already. Set HOST and PORT.\n"
    )
    assert not (tmp_path / "courier.sqlite3").exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PORT": "70000"}, "PORT cannot be 70000: it is a number from 1 to 65535.\n"),
        ({"PORT": "http"}, "PORT is malformed.\n"),
        ({"COURIER_DRAIN": "soon"}, "COURIER_DRAIN is malformed.\n"),
        ({"HOST": "192.0.2.1"}, "The address 192.0.2.1:"),
    ],
)
def test_an_impossible_setting_is_told_in_a_sentence(up, environment, expected):
    started = up(**environment)

    assert started.process.wait(120) == 1
    assert started.printed.startswith(expected)
    assert "Traceback" not in started.printed


def test_several_servers_without_redis_are_refused(up):
    started = up(COURIER_WORKERS="2")

    assert started.process.wait(120) == 1
    assert "courier.E003: More than one server process needs Redis" in started.printed
    assert "Traceback" not in started.printed


def test_a_production_without_secrets_is_refused(up):
    started = up(COURIER_PRODUCTION="1")

    assert started.process.wait(120) == 1
    assert started.printed.startswith("Set SECRET_KEY or SECRET_KEY_FILE")
    assert "Traceback" not in started.printed


def test_a_manifest_is_served_instead_of_the_demonstration(up, tmp_path):
    (tmp_path / "courier.yaml").write_text(MANIFEST)

    started = up(COURIER_MANIFEST=str(tmp_path / "courier.yaml")).wait_for_banner()

    assert '"model":"tiny"' in started.curl
    assert answer(started.curl) == "Hello"


def test_a_broken_manifest_is_told_with_its_line(up, tmp_path):
    (tmp_path / "courier.yaml").write_text(MANIFEST.replace("kind: echo", "kind: ecko"))

    started = up(COURIER_MANIFEST=str(tmp_path / "courier.yaml"))

    assert started.process.wait(120) == 1
    assert 'courier.yaml, line 2: kind cannot be "ecko"; did you mean "echo"?' in started.printed


@pytest.mark.fault
def test_r12_several_servers_let_their_streams_end_after_sigterm(up, redis_server):
    started = up(COURIER_WORKERS="2", REDIS_URL=redis_server.url(9)).wait_for_banner()
    words = " ".join(["word"] * 25)
    slow = started.curl.replace('"echo"', '"chaos-slow"').replace('"Hello"', f'"{words}"')
    streams = [subprocess.Popen(["bash", "-c", slow], stdout=subprocess.PIPE) for _ in range(8)]
    first = [stream.stdout.readline() for stream in streams]
    started.process.terminate()

    said = [
        line + stream.communicate(timeout=120)[0]
        for line, stream in zip(first, streams, strict=True)
    ]

    assert all(b"data: [DONE]" in one for one in said)
    assert started.process.wait(120) == 0
    assert started.processes() == []


@pytest.mark.fault
def test_r12_new_requests_are_answered_until_balancers_have_seen_the_stop(up):
    started = up(COURIER_STOP_DELAY="600").wait_for_banner()
    started.process.terminate()
    wait_for(lambda: not started.is_ready(), "readiness to be red", every_s=0.01)

    assert answer(started.curl) == "Hello"
    # Who is in haste does not wait for the balancers.
    assert started.interrupt() == 0
