"""Writes docs/faults.md: every number with its target, what was seen, and what keeps it."""

from tests.faults.promises import MISSED, NOT_YET, PROMISES, SECTIONS, WITHOUT_TEST
from tests.faults.results import NOT_FINISHED

INTRODUCTION = """# Faults: what Courier promises, and what was seen

Written by `make faults`, which provokes every fault below on one machine and runs every test of a
promise: on SQLite with the store in the process, on PostgreSQL with Redis, with whole Couriers, and
in the hour of R42, which is a run of its own. "All" says that the tests had all the trials that the
promise names, "few" that they had as many as in CI; those about money have all of theirs in
`make soak`. Partial runs (`python -m tests.faults --only F07,R24`) replace the results of their
numbers. A run that was ended before a test came to its verdict makes its number **not finished**.
Figures are of the machine of that run, two busy cores, and no promise of their own. CI runs the
tests marked "CI" at every landing, most of them with fewer trials; the rest takes longer or needs
more of a machine.

{summary}

Kept by: the tests that have the number in their name. Most of them, not all, were seen to fail with
their defense switched off. **Missed** says that the tests pass and the target is not met: what they
assert is less, and why is told at the end.
"""
HEAD = (
    "| | promise | target | seen | result | kept by | runs | trials |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def document(results):
    """The whole page, as Markdown."""
    rows = {number: Row(number, results) for number in PROMISES}
    parts = [INTRODUCTION.format(summary=_summary(rows.values()))]
    for title, numbers in SECTIONS.items():
        parts.append(f"\n## {title}\n\n{HEAD}")
        parts.extend(rows[number].line() for number in numbers)
    parts.extend(_remarks(rows.values()))
    return "".join(parts)


class Row:
    """One number."""

    def __init__(self, number, results):
        self.number = number
        self.promise = PROMISES[number]
        self.figures = results.figures_of(number)
        self.runs = results.runs_of(number)
        #: {test: [(run, what is known of it)]}
        self.tests = {}
        for run, _, tests in self.runs:
            for name, found in tests.items():
                self.tests.setdefault(name, []).append((run, found))

    @property
    def outcomes(self):
        return self._known("outcome")

    @property
    def trials(self):
        """All, or few if one of its tests had fewer than all in one of the runs."""
        known = self._known("trials")
        return next((amount for amount in ("few", "all") if amount in known), "")

    def _known(self, what):
        """One thing of what is known of its tests, in each run."""
        return {found.get(what) for seen in self.tests.values() for _, found in seen}

    @property
    def result(self):
        outcomes = self.outcomes
        for bad in ("failed", NOT_FINISHED):
            if bad in outcomes:
                return f"**{bad}**"
        if self.number in MISSED:
            return "**missed**"
        if "passed" in outcomes:
            return "kept" if "skipped" not in outcomes else "kept, in part skipped"
        if "skipped" in outcomes:
            return "skipped"
        return "no test" if self.number in WITHOUT_TEST else "not run"

    @property
    def reasons(self):
        """Why something was skipped, failed or has no test."""
        told = [
            f"`{name.rpartition('::')[2]}` {found['outcome']} ({run}){_because(found['why'])}"
            for name, seen in self.tests.items()
            for run, found in seen
            if found["outcome"] != "passed"
        ]
        if self.number in MISSED:
            told.append(MISSED[self.number])
        if self.number in WITHOUT_TEST:
            told.append(WITHOUT_TEST[self.number])
        elif not self.tests:
            told.append("Not written yet." if self.number in NOT_YET else "Not run yet.")
        return list(dict.fromkeys(told))

    def line(self):
        cells = (
            self.number,
            self.promise.statement,
            self.promise.target,
            "; ".join(self.figures),
            self.result,
            _places(self.tests),
            self._where(),
            self.trials,
        )
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    def _where(self):
        """Whether CI runs all of its tests, some, or none."""
        in_ci = self._known("in_ci")
        return {(): "", (True,): "CI", (False,): "`make faults`"}.get(tuple(in_ci), "both")


def _because(why):
    return f": {why}" if why else "."


def _places(tests):
    """The files of the tests, with how many each has."""
    counts = {}
    for name in tests:
        path = name.partition("::")[0].removeprefix("tests/")
        counts[path] = counts.get(path, 0) + 1
    return ", ".join(f"`{path}` ({count})" for path, count in sorted(counts.items()))


def _summary(rows):
    rows = list(rows)
    counts = {}
    for row in rows:
        counts[row.result] = counts.get(row.result, 0) + 1
    dates = sorted({date for row in rows for _, date, _ in row.runs})
    when = f" Runs of {dates[0]} to {dates[-1]}." if dates else ""
    return (
        f"{len(rows)} numbers: "
        + ", ".join(f"{n} {what}" for what, n in counts.items())
        + "."
        + when
    )


def _remarks(rows):
    """What was skipped or failed, and what has no test, with the reason in words."""
    told = [(row.number, reason) for row in rows for reason in row.reasons]
    if not told:
        return []
    return ["\n## Not kept, or not shown here\n\n", *(f"- {n}: {why}\n" for n, why in told)]
