"""A pytest plugin, `-p tests.faults.plugin`: keeps what becomes of the tests of promises.

`COURIER_ONLY` names the numbers to run, `COURIER_RESULTS` the file to add to: a line for each test
that is to run, and one for what became of it. A run that is cut short so tells what it left out.
"""

import json
import os
from pathlib import Path

from tests.faults.promises import ids_in
from tests.faults.results import NOT_FINISHED
from tests.soak import SOAKS


def pytest_collection_modifyitems(config, items):
    only = set(filter(None, os.environ.get("COURIER_ONLY", "").split(",")))
    if only:
        others = [item for item in items if not only & set(ids_in(item.name))]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if only & set(ids_in(item.name))]


def pytest_collection_finish(session):
    # Where tests are spread over processes, each of them collects all, and none does so here.
    for item in session.items:
        if ids_in(item.nodeid):
            _add(item.nodeid, NOT_FINISHED, in_ci="fault" not in item.keywords)


def pytest_runtest_logreport(report):
    # Of tests that are spread over processes, the one in charge is told everything again.
    if "PYTEST_XDIST_WORKER" in os.environ or not ids_in(report.nodeid):
        return
    if report.when == "call" or report.outcome != "passed":
        _note(report)


def _note(report):
    in_ci = "fault" not in report.keywords
    _add(report.nodeid, report.outcome, _why(report), round(report.duration, 1), in_ci=in_ci)


def _add(test, outcome, why="", took_s=0.0, *, in_ci):
    line = {
        "test": test,
        "outcome": outcome,
        "why": why,
        "took_s": took_s,
        "in_ci": in_ci,
        "trials": "all" if SOAKS else "few",
    }
    with Path(os.environ["COURIER_RESULTS"]).open("a") as file:
        file.write(json.dumps(line) + "\n")


def _why(report):
    """A line about a test that was skipped or has failed."""
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message.splitlines()[0][:200] if crash else ""
