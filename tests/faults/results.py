"""What the runs have found out, kept in a file: a run of some numbers leaves those of others."""

import datetime
import json
from collections import defaultdict
from pathlib import Path

from tests.faults.promises import ids_in

#: The worst of several outcomes comes first.
WORST = ("failed", "skipped", "passed")


class Results:
    """Outcomes by number, test and run, and figures by number, as they were last seen."""

    def __init__(self, path):
        self.path = Path(path)
        self.kept = json.loads(self.path.read_text()) if self.path.exists() else {}

    def keep(self, run, lines, figures, numbers, trials):
        """Note what one run found out: of these numbers nothing older is kept for that run.

        `trials` is "few", as in CI, or "all".
        """
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        for number in numbers:
            self.kept.get(number, {}).get("runs", {}).pop(run, None)
        for number, tests in _by_number(lines).items():
            if number in numbers:
                entry = self.kept.setdefault(number, {})
                entry.setdefault("runs", {})[run] = {
                    "date": date,
                    "tests": tests,
                    "trials": trials,
                }
        for number, seen in _figures(figures).items():
            if number in numbers:
                self.kept.setdefault(number, {}).setdefault("figures", {})[run] = seen
        self.save()

    def save(self):
        text = json.dumps(self.kept, indent=1, sort_keys=True, ensure_ascii=False)
        self.path.write_text(text + "\n")

    def runs_of(self, number):
        """(run, date, {test: {outcome, why, in_ci}}) of each run that had tests of this number."""
        runs = self.kept.get(number, {}).get("runs", {})
        return [(run, found["date"], found["tests"]) for run, found in sorted(runs.items())]

    def has_few_trials(self, number):
        """Whether a run of this number had fewer trials than it is promised for."""
        runs = self.kept.get(number, {}).get("runs", {}).values()
        return any(found.get("trials") == "few" for found in runs)

    def figures_of(self, number):
        """The figures that were seen, each once."""
        found = self.kept.get(number, {}).get("figures", {})
        return list(dict.fromkeys(text for run in sorted(found) for text in found[run]))


def lines_of(path):
    """The lines that a run has written; a last one that was cut short is left out."""
    if not Path(path).exists():
        return []
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line.endswith("}")]


def _by_number(lines):
    """{number: {test without its parameters: its worst outcome}}"""
    found = defaultdict(dict)
    for line in lines:
        for number in ids_in(line["test"]):
            name = line["test"].partition("[")[0]
            known = found[number].get(name)
            if known is None or _rank(line) < _rank(known):
                found[number][name] = {key: line[key] for key in ("outcome", "why", "in_ci")}
    return dict(found)


def _rank(line):
    return WORST.index(line["outcome"])


def _figures(lines):
    """{number: what was seen, each once}. Of many trials of one kind the last is kept."""
    found = defaultdict(list)
    for line in lines:
        for number in line["promise"].replace(",", " ").split():
            found[number].append(line["seen"])
    return {number: list(dict.fromkeys(seen))[-4:] for number, seen in found.items()}
