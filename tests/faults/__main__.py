"""Runs the tests of all promises, or of some, and writes docs/faults.md.

    python -m tests.faults                       # all of it, about 25 minutes on two cores
    python -m tests.faults --only F07,R24        # these numbers; the others' results are kept
    python -m tests.faults --write               # only write the page anew

The promises about money have their full trials in `make soak`; here they have few.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.document import document
from tests.faults.kept import kept
from tests.faults.promises import PROMISES, SECTIONS
from tests.faults.results import Results, lines_of
from tests.sources import CHECKOUT

RESULTS = CHECKOUT / "tests" / "faults" / "results.json"
PAGE = CHECKOUT / "docs" / "faults.md"
PYTEST = [sys.executable, "-m", "pytest", "--quiet", "-p", "tests.faults.plugin"]
SERVICES = [sys.executable, "-m", "tests.services", "--"]
MONEY = set(SECTIONS["Money and metering"])
#: A run that takes longer is ended; what it has found out by then is kept.
LONGEST_S = 15 * 60

IN_PROCESS = ["-m", "(promise or fault) and not e2e and not browser", "--numprocesses", "2"]
WHOLE = ["-m", "(promise or fault) and (e2e or browser)", "--numprocesses", "2",
         "--dist", "loadscope"]  # fmt: skip
#: The name of each run, what it begins with, its options, and whether it has services.
RUNS = {
    "SQLite": (PYTEST, IN_PROCESS),
    "PostgreSQL and Redis": ([*SERVICES, *PYTEST, "-p", "tests.database_only"], IN_PROCESS),
    "whole": (PYTEST, WHOLE),
}


def main():
    arguments = _arguments()
    results = Results(RESULTS)
    numbers = set(arguments.only.split(",")) if arguments.only else set(PROMISES)
    if unknown := numbers - set(PROMISES):
        sys.exit(f"Nothing is promised under {', '.join(sorted(unknown))}.")
    failed = False
    if not arguments.write:
        for run in RUNS:
            for part, soaks in ((numbers - MONEY, True), (numbers & MONEY, False)):
                failed |= bool(part) and not run_once(results, run, part, soaks=soaks)
    PAGE.write_text(document(results))
    print(f"wrote {PAGE.relative_to(CHECKOUT)}")
    return int(failed)


def run_once(results, run, numbers, *, soaks):
    """One run of these numbers' tests. Returns whether all of them passed."""
    program, options = RUNS[run]
    files = _files(numbers, of_whole=options is WHOLE)
    if not files:
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
        status = _ended([*program, *options, *files], environment)
        trials = "all" if soaks else "few"
        results.keep(run, lines_of(found), lines_of(figures), numbers, trials)
    print(f"{run}: {len(numbers)} numbers, {time.monotonic() - began:.0f} s", flush=True)
    return status in {0, 5}  # 5: these numbers have no tests there


def _files(numbers, *, of_whole):
    """Where the tests of these numbers are, of those that start whole Couriers or of the rest."""
    found = {path for number in numbers for path in kept().get(number, ())}
    whole = CHECKOUT / "tests" / "e2e"
    return sorted(str(path) for path in found if (whole in path.parents) is of_whole)


def _ended(command, environment):
    """The exit code of a command, which is ended if it takes too long."""
    process = subprocess.Popen(command, cwd=CHECKOUT, env=environment)
    try:
        return process.wait(LONGEST_S)
    except subprocess.TimeoutExpired:
        print(f"ended after {LONGEST_S} s", file=sys.stderr)
        process.terminate()
        return process.wait()


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", help="numbers, separated by commas")
    parser.add_argument("--write", action="store_true", help="only write the page")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
