"""Runs the clients' scripts against every upstream, and writes docs/compatibility.md."""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from tests.conformance import gateway, scenarios, upstreams
from tests.conformance.environments import SHARED, Environments
from tests.conformance.limits import speaks_the_same
from tests.conformance.results import Results
from tests.e2e.courier import CHECKOUT

PAGE = CHECKOUT / "docs" / "compatibility.md"


def main():
    asked = _arguments()
    if not SHARED.is_dir():
        sys.exit("The conformance scripts are not beside the checkout: nothing can be run.")
    environments = Environments(asked.work)
    results = Results(asked.work / "results.json")
    scripts = [each for each in scenarios.SCRIPTS if asked.scripts in each.name]
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        columns = []
        for name in asked.servers.split(","):
            server = upstreams.SERVERS[name](environments, scratch)
            columns += stack.enter_context(server)
        columns = [column for column in columns if asked.column in column.name]
        for column in columns:
            _run(column, scripts, environments, Path(scratch) / column.name, results)
    matrix = results.matrix()
    if asked.write:
        PAGE.write_text(matrix.page())
    ours = [
        f"{script.name} {column.name} {name}: {why}"
        for script, column in ((s, c) for s in scripts for c in columns)
        for name, mark, why in matrix.failures(script, column)
        if mark == "x"
    ]
    print(*ours, f"{len(ours)} failed by Courier's doing", sep="\n")
    sys.exit(bool(ours))


def _run(column, scripts, environments, directory, results):
    directory.mkdir()
    with gateway.courier(directory, column) as running:
        for script in scripts:
            told = gateway.settings(running, column)
            outcome, without = scenarios.run(script, environments, told), None
            if any(speaks_the_same(column, script, name) for name in outcome.failed):
                bare = gateway.settings_without(column)
                without = scenarios.run(script, environments, bare)
            results.keep(column, script, outcome, without)
            cell = results.matrix().cell(script, column)
            print(f"{column.title}: {script.title}: {cell}", flush=True)


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--work", default=CHECKOUT / "var" / "conformance", type=Path,
                        help="where clients and upstreams are installed")  # fmt: skip
    parser.add_argument("--servers", default="aimock,llmock,llamacpp,vllm")
    parser.add_argument("--column", default="", help="only columns with this in their name")
    parser.add_argument("--scripts", default="", help="only scripts with this in their name")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    return parser.parse_args()


main()
