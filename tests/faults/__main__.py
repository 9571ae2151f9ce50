"""Runs the tests of all promises, or of some, and writes docs/faults.md.

    python -m tests.faults                       # all of it, about two hours on two cores
    python -m tests.faults --only F07,R24        # these numbers; the others' results are kept
    python -m tests.faults --write               # only write the page anew

The promises about money have their full trials in `make soak`; here they have few. The hour of R42
is a run of its own, the last one. Pieces of `--only` that name each number once come to the same as
the whole.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.faults.document import document
from tests.faults.kept import kept
from tests.faults.promises import PROMISES, SECTIONS
from tests.faults.results import Results, lines_of, not_finished, slowest
from tests.sources import CHECKOUT

RESULTS = CHECKOUT / "tests" / "faults" / "results.json"
PAGE = CHECKOUT / "docs" / "faults.md"
#: With all trials some tests take minutes; those that take longer have a limit of their own.
PYTEST = [sys.executable, "-m", "pytest", "--quiet", "-p", "tests.faults.plugin",
          "--timeout", "600"]  # fmt: skip
SERVICES = [sys.executable, "-m", "tests.services", "--"]
IN_PROCESS = ["-m", "(promise or fault) and not e2e and not browser", "--numprocesses", "2"]
WHOLE = ["-m", "(promise or fault) and (e2e or browser)", "--numprocesses", "2",
         "--dist", "loadscope"]  # fmt: skip
MONEY = set(SECTIONS["Money and metering"])
#: Seconds after its limit in which a run may end the tests that it has begun.
GRACE_S = 15 * 60
#: After which a run that was interrupted is killed.
ENDS_WITHIN_S = 60
#: Exit codes of pytest: all passed, some failed, these numbers have no tests there.
PASSED, FAILED, NONE = 0, 1, 5


class Run(NamedTuple):
    """Some of the tests, how they are run, and after how long no further one is begun."""

    command: list[str]
    files: str
    longest_s: int


def files_of(test):
    """Which files it belongs to: those that start whole Couriers, the hour, or the rest."""
    if test.startswith("tests/e2e/test_soak.py"):
        return "hour"
    return "whole" if test.startswith("tests/e2e/") else "in process"


RUNS = {
    "SQLite": Run([*PYTEST, *IN_PROCESS], "in process", 60 * 60),
    "PostgreSQL and Redis": Run(
        [*SERVICES, *PYTEST, "-p", "tests.database_only", *IN_PROCESS], "in process", 30 * 60
    ),
    "whole": Run([*PYTEST, *WHOLE], "whole", 60 * 60),
    "the hour": Run([*PYTEST, "-m", "promise or fault"], "hour", 65 * 60),
}


def main():
    arguments = _arguments()
    results = Results(RESULTS)
    numbers = set(arguments.only.split(",")) if arguments.only else set(PROMISES)
    if unknown := numbers - set(PROMISES):
        sys.exit(f"Nothing is promised under {', '.join(sorted(unknown))}.")
    failed = False
    if not arguments.write:
        for name in RUNS:
            for part, soaks in ((numbers - MONEY, True), (numbers & MONEY, False)):
                failed |= not run_once(results, name, part, soaks=soaks)
    PAGE.write_text(document(results))
    print(f"wrote {PAGE.relative_to(CHECKOUT)}")
    return int(failed)


def run_once(results, name, numbers, *, soaks):
    """One run of these numbers' tests. Returns whether it came to its end and all passed."""
    run, known = RUNS[name], kept()
    tests = {test for number in numbers for test in known.get(number, ())}
    tests = {test for test in tests if files_of(test) == run.files}
    # What is not found out is so not taken for what was found out before.
    results.keep(name, not_finished(tests), [], numbers)
    if not tests:
        return True
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="courier-faults-") as directory:
        found, figures = Path(directory, "results"), Path(directory, "figures")
        environment = os.environ | {
            "COURIER_RESULTS": str(found),
            "COURIER_FIGURES": str(figures),
            "COURIER_ONLY": ",".join(sorted(numbers)),
            "COURIER_SOAK": "1" if soaks else "0",
        }
        status = _ended(run, sorted({test.partition("::")[0] for test in tests}), environment)
        lines = lines_of(found)
        if lines or status in {PASSED, FAILED, NONE}:
            results.keep(name, lines, lines_of(figures), numbers)
    print(f"{name}: {len(numbers)} numbers, {time.monotonic() - began:.0f} s", flush=True)
    for took_s, test in slowest(lines):
        print(f"  {took_s:6.1f} s  {test}", flush=True)
    return status in {PASSED, NONE}


def _ended(run, files, environment):
    """The exit code of a run, which begins no test after its limit, and is ended soon after."""
    command = [*run.command, "--session-timeout", str(run.longest_s), *files]
    process = subprocess.Popen(command, cwd=CHECKOUT, env=environment)
    try:
        return process.wait(run.longest_s + GRACE_S)
    except subprocess.TimeoutExpired:
        print(f"ended after {run.longest_s + GRACE_S} s", file=sys.stderr)
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", help="numbers, separated by commas")
    parser.add_argument("--write", action="store_true", help="only write the page")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
