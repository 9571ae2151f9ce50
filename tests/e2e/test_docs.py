"""The lines of docs/endpoints.md, pasted into a shell."""

import os
import re
import subprocess

import pytest

from tests.e2e.manifests import KEY, key, model
from tests.sources import CHECKOUT

PAGE = (CHECKOUT / "docs" / "endpoints.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
LINES = [block for block in BLOCKS if block.startswith("curl")]
MANIFEST = {
    "version": 1,
    "providers": [{"name": "echo", "kind": "echo"}],
    "models": [model("echo", provider="echo")],
    "teams": [{"name": "research"}],
    "keys": [key()],
}


@pytest.fixture(scope="module")
def courier(launch):
    return launch(MANIFEST)


def pasted(line, courier):
    """The status and the type of what a line is answered."""
    variables = {**os.environ, "COURIER_URL": courier.origin, "COURIER_KEY": KEY}
    told = "curl() { command curl -s -w '\\n%{http_code} %{content_type}' \"$@\"; }\n"
    run = subprocess.run(
        ["bash", "-c", told + line], env=variables, cwd=CHECKOUT, capture_output=True, timeout=60
    )
    return run.stdout.decode(errors="replace").splitlines()[-1]


def test_every_line_works_as_pasted(courier):
    failed = {line: said for line in LINES if not (said := pasted(line, courier)).startswith("200")}

    assert failed == {}


@pytest.mark.parametrize("path", ["responses", "messages", "embeddings", "audio/transcriptions"])
def test_endpoints_have_a_line(path):
    assert any(f"$COURIER_URL/v1/{path} " in line for line in LINES)
