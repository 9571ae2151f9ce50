"""What was found out so far, kept in a file: a run of some columns leaves the others' results."""

import datetime
import json

from tests.conformance.matrix import Matrix
from tests.conformance.scenarios import SCRIPTS, Outcome
from tests.conformance.upstreams import Column

BY_NAME = {script.name: script for script in SCRIPTS}


class Results:
    """Outcomes by column and script, as they were last seen."""

    def __init__(self, path):
        self.path = path
        self.kept = json.loads(path.read_text()) if path.exists() else {}

    def keep(self, column, script, outcome, without):
        """Note what a script said of a column, and of its server without Courier."""
        told = {"title": column.title, "kind": column.kind}
        entry = self.kept.setdefault(column.name, {"scripts": {}})
        entry |= told
        entry["scripts"][script.name] = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "outcome": vars(outcome),
            "without": vars(without) if without else None,
        }
        self.path.write_text(json.dumps(self.kept, indent=1))

    def matrix(self):
        """All of it, in the order of the scripts."""
        matrix = Matrix([_column(name, entry) for name, entry in self.kept.items()])
        for script in SCRIPTS:
            for name, entry in self.kept.items():
                found = entry["scripts"].get(script.name)
                if found:
                    matrix.dates.add(found["date"])
                    matrix.outcomes[script, name] = Outcome(**found["outcome"])
                    if found["without"]:
                        matrix.without[script, name] = Outcome(**found["without"])
        return matrix


def _column(name, entry):
    return Column(name, entry["title"], entry["kind"], "")
