"""One thing to measure: a gateway with what it needs, started and stopped from a description."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import services
from machine import Process, free_port, wait_for_port

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
#: More gateways and floors to compare with, where this folder lies beside the checkout.
MORE = CHECKOUT.parent / "shared" / "bench" / "gateways"
KEY = "sk-bench-0123456789abcdefghijklmnopqrstuvwxyz"


class Unavailable(Exception):
    """This target cannot run here; the message says why."""


def description_file(name):
    for file in (Path(name), HERE / "targets" / f"{name}.json", MORE / name / "target.json"):
        if file.is_file():
            return file
    raise Unavailable(f"{name} is not described in bench/targets.")


class Target:
    """A gateway on its core; the provider, database and Redis that it uses on the other."""

    def __init__(self, name, peers, gateway_core, load_core):
        file = description_file(name)
        self.name, self.folder = Path(name).stem, file.parent
        self.description = json.loads(file.read_text())
        self.gateway_core, self.load_core = gateway_core, load_core
        self.port, self.provider_port = free_port(), free_port()
        self.work = Path(tempfile.mkdtemp(prefix=f"bench-{self.name}-"))
        self.work.chmod(0o711)  # the database may run as another user
        self.values = {
            "python": sys.executable,
            "checkout": CHECKOUT,
            "work": self.work,
            "peers": peers,
            "target": self.folder,
            "key": KEY,
            "port": self.port,
            "upstream_port": self.provider_port,
            "upstream": f"http://127.0.0.1:{self.provider_port}/v1",
        }
        self.services, self.gateway, self.provider = {}, None, None
        self._check_installed()

    @property
    def headers(self):
        return [self._fill(header) for header in self.description["headers"]]

    @property
    def keeps_records(self):
        return self.description.get("keeps_records", False)

    @property
    def speaks(self):
        """The formats that clients may ask in."""
        return ["chat", *self.description.get("speaks", [])]

    def start(self):
        """Start everything and wait until the gateway answers."""
        is_direct = self.description.get("kind") == "direct"
        core = self.gateway_core if is_direct else self.load_core
        self.provider = self._process(
            "upstream", [HERE / "bin" / "upstream", self.provider_port], core
        )
        wait_for_port(self.provider_port, self.provider, 10)
        if is_direct:
            self.gateway, self.port = self.provider, self.provider_port
        else:
            self._start_gateway()

    def stop(self):
        for process in filter(None, (self.gateway, self.provider)):
            process.stop()
        for process in self.services.values():
            process.stop(how=signal.SIGINT)
        shutil.rmtree(self.work, ignore_errors=True)

    def bodies(self):
        """Files with the plain and the streamed request, and that one in the Messages format."""
        body = {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "system", "content": "You are a helpful assistant. " * 12},
                {"role": "user", "content": "Why is the sky blue and the sunset red? " * 11},
            ],
            "temperature": 0.2,
            "max_tokens": 256,
        }
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
        system, user = body["messages"]
        messages = {**body, "stream": True, "system": system["content"], "messages": [user]}
        names = ("plain.json", "streamed.json", "messages.json")
        files = tuple(self.work / name for name in names)
        for file, content in zip(files, (body, streamed, messages), strict=True):
            file.write_text(json.dumps(content))
        return files

    def post(self, body, headers=None):
        return http(self.port, "/v1/chat/completions", body, headers or self.headers)

    def set_provider(self, knobs):
        http(self.provider_port, f"/set?{knobs}")

    def provider_stats(self):
        return json.loads(http(self.provider_port, "/stats")[1])

    def version(self):
        command = self.description.get("version", "as in this checkout")
        if isinstance(command, str):
            return command
        shown = subprocess.run(self._filled(command), capture_output=True, text=True, check=False)
        return (shown.stdout + shown.stderr).strip().splitlines()[-1]

    def _start_gateway(self):
        for name in self.description.get("services", []):
            server, url = getattr(services, name)(self.work, self.load_core)
            self.services[name] = server
            self.values[name] = url
        for file in self.description.get("render", []):
            (self.work / file).write_text(self._fill((self.folder / file).read_text()))
        for command in self.description.get("prepare", []):
            self._prepare(self._filled(command))
        command = self._filled(self.description["start"])
        self.gateway = self._process(self.name, command, self.gateway_core)
        ready = self.description.get("ready", {})
        wait_for_port(self.port, self.gateway, ready.get("timeout", 60))
        if "path" in ready:
            self._wait_until_ready(ready["path"], ready.get("timeout", 60))

    def _prepare(self, command):
        done = subprocess.run(
            command, env=self._env(), cwd=self._cwd(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command} failed:\n{(done.stdout + done.stderr)[-3000:]}")

    def _process(self, name, command, core):
        log = self.work / f"{name}.log"
        return Process(command, core, log, env=self._env(), cwd=self._cwd())

    def _wait_until_ready(self, path, timeout):
        deadline = time.monotonic() + timeout
        while http(self.port, path, headers=self.headers)[0] != 200:
            if time.monotonic() > deadline or not self.gateway.is_alive():
                tail = self.gateway.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} does not become ready. Its log ends:\n{tail}")
            time.sleep(0.2)

    def _env(self):
        inherited = {
            name: value
            for name, value in os.environ.items()
            if "proxy" not in name.lower() and name not in {"PYTHONPATH", "VIRTUAL_ENV"}
        }
        own = {name: self._fill(value) for name, value in self.description.get("env", {}).items()}
        return {**inherited, "NO_PROXY": "127.0.0.1,localhost", **own}

    def _cwd(self):
        return self._fill(self.description.get("cwd", "{work}"))

    def _check_installed(self):
        program = self._fill(self.description.get("start", ["true"])[0])
        if not shutil.which(program):
            raise Unavailable(f"{self.name} is skipped: {Path(program).name} is not installed.")

    def _filled(self, command):
        return [self._fill(word) for word in command]

    def _fill(self, text):
        for name, value in self.values.items():
            text = text.replace("{" + name + "}", str(value))
        return text


def http(port, path, body=None, headers=()):
    """Status and text of an answer; status 0 if there was none."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body)
    for header in (*headers, *(["Content-Type: application/json"] if body else [])):
        name, _, value = header.partition(":")
        request.add_header(name, value.strip())
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=30) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)
