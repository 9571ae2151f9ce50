"""The clients' scripts: which there are, how one is run, and what it said."""

import os
import re
import subprocess
import time
from dataclasses import dataclass, field

from tests.conformance.environments import OWN, SHARED

#: How long one script may take, in seconds: real models on a processor are slow.
LONGEST_S = 900
#: Longer than any Retry-After of the upstreams, in seconds.
PAUSE_S = 3
_LINE = re.compile(r"(PASS|FAIL|SKIP) (\S+)(?: - (.*))?")


@dataclass(frozen=True)
class Script:
    """One script of scenarios, and the environment that it runs in."""

    name: str
    title: str
    environment: str
    ours: bool = False

    def command(self, environments):
        if self.environment == "node":
            return ["node", str(environments.node() / self.name)]
        directory = OWN if self.ours else SHARED / "clients"
        return [str(environments.python(self.environment)), str(directory / self.name)]


SCRIPTS = (
    Script("py_openai.py", "OpenAI SDK, Python", "sdk"),
    Script("py_openai_async.py", "OpenAI SDK, Python, asynchronous", "sdk"),
    Script("py_anthropic.py", "Anthropic SDK, Python", "sdk"),
    Script("node_openai.mjs", "OpenAI SDK, Node", "node"),
    Script("node_anthropic.mjs", "Anthropic SDK, Node", "node", ours=True),
    Script("node_ai_sdk.mjs", "Vercel AI SDK", "node"),
    Script("py_langchain.py", "LangChain", "frameworks"),
    Script("py_google_genai.py", "google-genai", "more", ours=True),
    Script("py_llama_index.py", "LlamaIndex", "more", ours=True),
    Script("py_pydantic_ai.py", "pydantic-ai", "more", ours=True),
    Script("py_litellm.py", "LiteLLM as a client", "litellm", ours=True),
    Script("py_others.py", "Agents SDK, Instructor, llm", "agents", ours=True),
    Script("py_agents.py", "Claude Code, Codex", "agents", ours=True),
)


@dataclass
class Outcome:
    """What one script said of one column: a verdict and a reason for each scenario."""

    verdicts: dict = field(default_factory=dict)
    reasons: dict = field(default_factory=dict)

    def update(self, other):
        self.verdicts |= other.verdicts
        self.reasons |= other.reasons

    @property
    def failed(self):
        return [name for name, verdict in self.verdicts.items() if verdict == "FAIL"]

    def count(self, verdict):
        return sum(each == verdict for each in self.verdicts.values())


def run(script, environments, settings):
    """Run a script with these settings; what failed is tried once more, by itself.

    For a scenario may suffer from the one before it: a provider that asks to wait is not
    called until its time is over, by whichever scenario.
    """
    outcome = _run(script, environments, settings)
    for name in outcome.failed:
        time.sleep(PAUSE_S)
        outcome.update(_run(script, environments, {**settings, "ONLY": name}))
    return outcome


def _run(script, environments, settings):
    told = {**os.environ, **settings, "PYTHONPATH": str(SHARED / "clients"), "NO_COLOR": "1"}
    if script.environment == "agents":
        told["AGENTS_BIN"] = str(environments.agents())
    try:
        done = subprocess.run(
            script.command(environments),
            env=told,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
        )
        said, complaint = done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        said, complaint = (late.stdout or b"").decode(), f"no end within {LONGEST_S} s"
    outcome = Outcome()
    for line in said.splitlines():
        found = _LINE.match(line)
        if found:
            outcome.verdicts[found[2]] = found[1]
            outcome.reasons[found[2]] = found[3] or ""
    if not outcome.verdicts:
        outcome.verdicts["(the script)"] = "FAIL"
        outcome.reasons["(the script)"] = complaint.strip().splitlines()[-1] if complaint else ""
    return outcome
