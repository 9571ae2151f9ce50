"""Claude Code and Codex, the agents themselves, pointed at Courier and given a tool to use."""

import os
import subprocess
import tempfile
from pathlib import Path

from scen import (
    ANTHROPIC_BASE_URL,
    ANTHROPIC_MODEL,
    API_KEY,
    BASE_URL,
    MODEL,
    main,
    need,
    scenario,
)

BIN = Path(os.environ["AGENTS_BIN"])
TASK = "Run the command, please."
CODEX = """\
model = "{model}"
model_provider = "courier"
[model_providers.courier]
name = "courier"
base_url = "{url}"
env_key = "COURIER_KEY"
wire_api = "responses"
"""


def run(program, *arguments, home, **settings):
    done = subprocess.run(
        [BIN / program, *arguments],
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **settings},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=100,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-300:]
    return done.stdout


def claude(*arguments):
    with tempfile.TemporaryDirectory() as home:
        return run(
            "claude", "-p", *arguments, "--model", ANTHROPIC_MODEL, "--allowedTools", "Bash",
            home=home, ANTHROPIC_BASE_URL=ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY=API_KEY,
            CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1", DISABLE_TELEMETRY="1",
            DISABLE_AUTOUPDATER="1",
        )  # fmt: skip


def codex(task):
    with tempfile.TemporaryDirectory() as home:
        settings = Path(home) / ".codex"
        settings.mkdir()
        (settings / "config.toml").write_text(CODEX.format(model=MODEL, url=BASE_URL))
        return run(
            "codex", "exec", "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox", task, home=home, COURIER_KEY=API_KEY,
        )  # fmt: skip


@scenario
def claude_code_answers():
    assert claude("Say hello.").strip()


@scenario
def claude_code_streams_json():
    said = claude("Say hello.", "--output-format", "stream-json", "--verbose")
    assert '"type":"result"' in said
    assert '"is_error":false' in said


@scenario
def claude_code_uses_a_tool():
    need(os.environ.get("SCRIPTED"), "SCRIPTED")
    assert "courier-was-here" in claude(TASK)


@scenario
def codex_answers():
    assert codex("Say hello.").strip()


@scenario
def codex_uses_a_tool():
    need(os.environ.get("SCRIPTED"), "SCRIPTED")
    assert "courier-was-here" in codex(TASK)


if __name__ == "__main__":
    main()
