"""The matrix as a page: what passed, what did not, and whose doing that is."""

from tests.conformance.limits import lack, not_asked, reason, speaks_the_same

HEAD = """\
# Compatibility

Made by `python -m tests.conformance` ({dates}); not written by hand. Real clients, pointed at
Courier by base URL and key alone, in front of upstreams that this project did not write.

Each cell counts scenarios: passed / asked. Scenarios that a script skipped by itself (it was
not given what it needs) are not counted. Beside them: *u* for those that the upstream itself
cannot do, seen by running the same script against it without Courier, or known of it where
that speaks another format (each with its reason below); *f* for those that the
upstream's format has no place for; **x** for those that fail and should not. What an upstream
is known to lack is not asked of it where no run without Courier would show it: see below.

"""


class Matrix:
    """Outcomes by script and column."""

    def __init__(self, columns):
        self.columns = columns
        self.outcomes = {}
        #: Of the same scripts against the upstreams themselves, where both speak one format.
        self.without = {}
        self.dates = set()

    def failures(self, script, column):
        """The scenarios that failed: each with whose doing it is (u, f or x) and a reason."""
        for name in self.outcomes[script, column.name].failed:
            yield name, *self._blame(script, column, name)

    def _blame(self, script, column, name):
        why = self.outcomes[script, column.name].reasons[name]
        bare = self.without.get((script, column.name))
        if bare and speaks_the_same(column, script, name) and bare.verdicts.get(name) == "FAIL":
            return "u", bare.reasons[name]
        if lack(column, script, name):
            return "u", lack(column, script, name)
        limit = reason(column, name)
        return ("f", limit) if limit else ("x", why)

    def cell(self, script, column):
        outcome = self.outcomes.get((script, column.name))
        if outcome is None:
            return "–"
        passed, failed = outcome.count("PASS"), outcome.count("FAIL")
        if not passed + failed:
            return "–"
        marks = [mark for _, mark, _ in self.failures(script, column)]
        beside = [
            f"{marks.count(mark)} {'**x**' if mark == 'x' else f'*{mark}*'}"
            for mark in "ufx"
            if mark in marks
        ]
        return " · ".join([f"{passed}/{passed + failed}", *beside])

    def page(self):
        scripts = list(dict.fromkeys(script for script, _ in self.outcomes))
        lines = [HEAD.format(dates=", ".join(sorted(self.dates))), f"| client | {self._titles()} |"]
        lines.append("|---" * (len(self.columns) + 1) + "|")
        for script in scripts:
            cells = " | ".join(self.cell(script, column) for column in self.columns)
            lines.append(f"| {script.title} | {cells} |")
        lines += ["", "## What was not asked", ""]
        lines += [*self._not_asked()] or ["Nothing was left out."]
        lines += ["", "## What did not pass", ""]
        lines += [*self._failures(scripts)] or ["Nothing."]
        return "\n".join(lines) + "\n"

    def _titles(self):
        return " | ".join(column.title for column in self.columns)

    def _not_asked(self):
        for column in self.columns:
            for name, why in not_asked(column).items():
                yield f"- {column.title}, `{name}`: {why}"

    def _failures(self, scripts):
        for script in scripts:
            for column in self.columns:
                if (script, column.name) in self.outcomes:
                    for name, mark, why in self.failures(script, column):
                        yield f"- {script.title}, {column.title}, `{name}` ({mark}): {_plain(why)}"


def _plain(why):
    return why.replace("|", "\\|").replace("<", "&lt;")[:200] or "no reason given"
