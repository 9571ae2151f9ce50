"""The upstreams that nobody here wrote: how each starts, and as what Courier is told of it."""

import contextlib
import json
import os
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.environments import SHARED
from tests.services import free_port, stop_process, wait_for

AIMOCK_KEY = "sk-test-upstream"
VLLM_KEY = "sk-vllm"


@dataclass(frozen=True)
class Column:
    """One kind of provider in front of one server: a column of the matrix."""

    #: The provider's name in the manifest.
    name: str
    title: str
    kind: str
    base_url: str
    key: str = ""
    chat: str = "gpt-4o"
    claude: str = "claude-sonnet-4-5"
    #: Names of further models that the server has, by the scripts' variable.
    further: dict = field(default_factory=dict)
    #: Settings that the scripts take as they are.
    settings: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)

    @property
    def models(self):
        return sorted({self.chat, self.claude, *self.further.values()})


#: What aimock's fixtures answer specially.
SPECIAL = {
    "RATE_LIMIT_MODEL": "rate-limited",
    "SLOW_MODEL": "slow",
    "SLOW_STREAM_MODEL": "slow-stream",
    "SMALL_CONTEXT_MODEL": "small-context",
}


@contextlib.contextmanager
def aimock(environments, directory):
    """Yields its columns."""
    port = free_port()
    told = json.loads((SHARED / "upstreams" / "aimock.json").read_text())
    told["port"] = port
    told["llm"]["fixtures"] = str(_fixtures(directory))
    config = Path(directory) / "aimock.json"
    config.write_text(json.dumps(told))
    origin = f"http://127.0.0.1:{port}"
    journal = {"JOURNAL_URL": f"{origin}/__aimock/journal", "JOURNAL_KEY": AIMOCK_KEY}
    scripted = {"SCRIPTED": "aimock"}
    vectors = {"EMBED_MODEL": "text-embedding-3-small", "RERANK_MODEL": "rerank-v3.5"}
    with _process([environments.aimock(), "--config", config], directory, "aimock", origin):
        yield [
            Column("compatible", "OpenAI-compatible (aimock)", "openai_compatible",
                   f"{origin}/v1", AIMOCK_KEY, further={**SPECIAL, **vectors},
                   settings={**journal, **scripted}),
            Column("anthropic", "Anthropic (aimock)", "anthropic", f"{origin}/v1", AIMOCK_KEY,
                   further=SPECIAL, settings=scripted),
            Column("gemini", "Gemini (aimock)", "gemini", f"{origin}/v1beta", AIMOCK_KEY,
                   further=SPECIAL, settings=scripted),
        ]  # fmt: skip


def _fixtures(directory):
    """What aimock answers: to agents with tools of their own, and then as the scripts expect."""
    shared = json.loads((SHARED / "upstreams" / "aimock-fixtures.json").read_text())
    own = json.loads((Path(__file__).parent / "fixtures.json").read_text())
    made = Path(directory) / "fixtures.json"
    made.write_text(json.dumps({"fixtures": [*own, *shared["fixtures"]]}))
    return made


@contextlib.contextmanager
def llmock(environments, directory):
    """Yields its columns."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    program = environments.python("mocks").parent / "llmock"
    command = [program, "serve", "--port", str(port)]
    told = {"LLMOCK_ADMIN": origin, "JOURNAL_URL": f"{origin}/_llmock/requests"}
    vectors = {"EMBED_MODEL": "text-embedding-3-small"}
    with _process(command, directory, "llmock", origin):
        yield [
            Column("l-compatible", "OpenAI-compatible (llmock)", "openai_compatible",
                   f"{origin}/v1", further=vectors, settings=told),
            Column("l-anthropic", "Anthropic (llmock)", "anthropic", f"{origin}/anthropic/v1",
                   settings=told),
            Column("l-gemini", "Gemini (llmock)", "gemini", f"{origin}/gemini/v1beta",
                   settings={"LLMOCK_ADMIN": origin}),
        ]  # fmt: skip


@contextlib.contextmanager
def llamacpp(environments, directory):
    """llama.cpp's own server with a real, small model. Yields its column."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    script = SHARED / "upstreams" / "real_llamacpp.py"
    command = [environments.python("mocks"), script, "--port", str(port)]
    model = "gemma3-270m"
    # So small a model ends its tool calls only with these.
    ends = {"EXTRA_BODY": json.dumps({"logit_bias": {"1": 4}, "temperature": 0})}
    with _process(command, directory, "llamacpp", origin, within_s=120):
        yield [
            Column("llamacpp", "llama.cpp, a real model", "openai_compatible", f"{origin}/v1",
                   chat=model, claude=model, settings=ends),
        ]  # fmt: skip


@contextlib.contextmanager
def vllm(environments, directory):
    """vLLM on the processor with a tiny random model. Yields its column."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    python = environments.python("vllm")
    weights = environments.directory / "tiny-llama"
    if not weights.exists():
        maker = SHARED / "upstreams" / "make_tiny_model.py"
        subprocess.run([python, maker, weights], check=True, capture_output=True)
    command = [
        python, "-m", "vllm.entrypoints.openai.api_server", "--model", weights,
        "--served-model-name", "tiny-llama", "--host", "127.0.0.1", "--port", str(port),
        "--dtype", "bfloat16", "--max-model-len", "65536", "--enforce-eager",
        "--max-num-seqs", "8", "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
        "--api-key", VLLM_KEY, "--structured-outputs-config",
        '{"backend":"xgrammar","disable_any_whitespace":true}',
    ]  # fmt: skip
    told = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1"}  # fmt: skip
    with _process(command, directory, "vllm", origin, within_s=300, environment=told):
        yield [
            Column("vllm", "vLLM, a tiny random model", "vllm", f"{origin}/v1", VLLM_KEY,
                   chat="tiny-llama", claude="tiny-llama"),
        ]  # fmt: skip


SERVERS = {"aimock": aimock, "llmock": llmock, "llamacpp": llamacpp, "vllm": vllm}


@contextlib.contextmanager
def _process(command, directory, name, origin, *, within_s=30, environment=None):
    """A server that runs for as long as the context lasts."""
    with (Path(directory) / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
        )
    try:
        wait_for(lambda: _answers(f"{origin}/v1/models"), f"{name} to answer", within_s)
        yield
    finally:
        stop_process(process)


def _answers(url):
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
