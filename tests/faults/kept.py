"""Which tests keep which promises, by the tests' names."""

import ast

from tests.faults.promises import ids_in
from tests.sources import CHECKOUT


def kept():
    """{number: the files of its tests}, read from the sources."""
    found = {}
    for path in sorted((CHECKOUT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for number in ids_in(node.name):
                    found.setdefault(number, set()).add(path)
    return found
