"""Upstreams that this project did not write, so that its own mistakes are not repeated in them."""

import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.courier import CHECKOUT
from tests.services import free_port, stop_process, wait_for

CONFORMANCE = CHECKOUT.parent / "shared" / "conformance"
AIMOCK = "@copilotkit/aimock@1.43.0"
AIMOCK_KEY = "sk-test-upstream"


@contextlib.contextmanager
def llmock():
    """A mock of several vendors; its `state.scenarios` breaks it on demand."""
    testing = pytest.importorskip("llmock.testing", reason="llmock is not installed")
    with testing.LLMockServer() as server:
        yield server


@contextlib.contextmanager
def aimock(directory, cache):
    """A mock by npm with the answers described beside the checkout; yields its origin."""
    if not CONFORMANCE.is_dir():
        pytest.skip("The conformance scenarios are not beside the checkout.")
    program, port = _installed(Path(cache)), free_port()
    settings = json.loads((CONFORMANCE / "upstreams" / "aimock.json").read_text())
    settings["port"] = port
    settings["llm"]["fixtures"] = str(CONFORMANCE / "upstreams" / "aimock-fixtures.json")
    config = Path(directory) / "aimock.json"
    config.write_text(json.dumps(settings))
    with (Path(directory) / "aimock.log").open("wb") as log:
        process = subprocess.Popen([program, "--config", config], stdout=log, stderr=log)
    try:
        origin = f"http://127.0.0.1:{port}"
        wait_for(lambda: _answers(origin), "aimock to answer")
        yield origin
    finally:
        stop_process(process)


def _installed(cache):
    """The program, installed into the cache if it is not there yet."""
    program = cache / "node_modules" / ".bin" / "aimock"
    if not program.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not on this machine.")
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(cache), AIMOCK]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        if done.returncode:
            pytest.skip("aimock could not be installed by npm.")
    return program


def _answers(origin):
    try:
        urllib.request.urlopen(f"{origin}/v1/models", timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        time.sleep(0.05)
        return False
    return True
