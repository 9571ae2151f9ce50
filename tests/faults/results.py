"""What the runs have found out, kept in a file: a run of some numbers leaves those of others."""

import datetime
import json
from collections import defaultdict
from pathlib import Path

from tests.faults.promises import ids_in

NOT_FINISHED = "not finished"
#: The worst of several outcomes comes first.
WORST = ("failed", NOT_FINISHED, "skipped", "passed")


class Results:
    """Outcomes by number, test and run, and figures by number, as they were last seen."""

    def __init__(self, path):
        self.path = Path(path)
        self.kept = json.loads(self.path.read_text()) if self.path.exists() else {}

    def keep(self, run, lines, figures, numbers):
        """Note what one run found out: of these numbers nothing older is kept for that run."""
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        for number in numbers:
            for kind in ("runs", "figures"):
                self.kept.get(number, {}).get(kind, {}).pop(run, None)
        for number, tests in _by_number(lines).items():
            if number in numbers:
                entry = self.kept.setdefault(number, {})
                entry.setdefault("runs", {})[run] = {"date": date, "tests": tests}
        for number, seen in _figures(figures).items():
            if number in numbers:
                self.kept.setdefault(number, {}).setdefault("figures", {})[run] = seen
        self.save()

    def save(self):
        text = json.dumps(self.kept, indent=1, sort_keys=True, ensure_ascii=False)
        self.path.write_text(text + "\n")

    def runs_of(self, number):
        """(run, date, {test: what is known of it}) of each run that had tests of this number."""
        runs = self.kept.get(number, {}).get("runs", {})
        return [(run, found["date"], found["tests"]) for run, found in sorted(runs.items())]

    def figures_of(self, number):
        """The figures that were seen, each once."""
        found = self.kept.get(number, {}).get("figures", {})
        return list(dict.fromkeys(text for run in sorted(found) for text in found[run]))


def lines_of(path):
    """The lines that a run has written; a last one that was cut short is left out."""
    if not Path(path).exists():
        return []
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line.endswith("}")]


def not_finished(tests):
    """Lines about tests of which nothing is known yet."""
    return [
        {"test": name, "outcome": NOT_FINISHED, "why": "", "took_s": 0.0, "in_ci": True}
        for name in tests
    ]


def slowest(lines, most=10, least_s=10):
    """(seconds, test) of those that took longest."""
    took = [(line["took_s"], line["test"]) for line in lines if line["took_s"] >= least_s]
    return sorted(took, reverse=True)[:most]


def _by_number(lines):
    """{number: {test without its parameters: its worst outcome, and the seconds of all}}"""
    found = defaultdict(lambda: defaultdict(list))
    for line in _ended(lines):
        for number in ids_in(line["test"]):
            found[number][line["test"].partition("[")[0]].append(line)
    return {
        number: {name: _together(each) for name, each in tests.items()}
        for number, tests in found.items()
    }


def _ended(lines):
    """Without those about tests that were to run, where there is one about how it ended."""
    ended = {line["test"] for line in lines if line["outcome"] != NOT_FINISHED}
    return [line for line in lines if line["outcome"] != NOT_FINISHED or line["test"] not in ended]


def _together(lines):
    worst = min(lines, key=lambda line: WORST.index(line["outcome"]))
    known = {key: worst[key] for key in ("outcome", "why", "in_ci", "trials") if key in worst}
    return known | {"took_s": round(sum(line["took_s"] for line in lines), 1)}


def _figures(lines):
    """{number: what was seen, each once}. Of many trials of one kind the last is kept."""
    found = defaultdict(list)
    for line in lines:
        for number in line["promise"].replace(",", " ").split():
            found[number].append(line["seen"])
    return {number: list(dict.fromkeys(seen))[-4:] for number, seen in found.items()}
