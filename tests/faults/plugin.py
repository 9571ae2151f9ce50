"""A pytest plugin, `-p tests.faults.plugin`: keeps what becomes of the tests of promises.

`COURIER_ONLY` names the numbers to run, `COURIER_RESULTS` the file to add to, a line per test:
what has happened by then stays, even if the run is cut short.
"""

import json
import os
from pathlib import Path

from tests.faults.promises import ids_in


def pytest_collection_modifyitems(config, items):
    only = set(filter(None, os.environ.get("COURIER_ONLY", "").split(",")))
    if only:
        others = [item for item in items if not only & set(ids_in(item.name))]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if only & set(ids_in(item.name))]


def pytest_runtest_logreport(report):
    # Of tests that are spread over processes, the one in charge is told everything again.
    if "PYTEST_XDIST_WORKER" in os.environ or not ids_in(report.nodeid):
        return
    if report.when == "call" or report.outcome != "passed":
        _note(report)


def _note(report):
    line = {
        "test": report.nodeid,
        "outcome": report.outcome,
        "why": _why(report),
        "took_s": round(report.duration, 2),
        "in_ci": "fault" not in report.keywords,
    }
    with Path(os.environ["COURIER_RESULTS"]).open("a") as file:
        file.write(json.dumps(line) + "\n")


def _why(report):
    """A line about a test that was skipped or has failed."""
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message.splitlines()[0][:200] if crash else ""
