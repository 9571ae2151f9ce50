"""Which tests keep which promises, by the tests' names."""

import ast

from tests.faults.promises import ids_in
from tests.sources import CHECKOUT


def kept():
    """{number: its tests, as pytest names them}, read from the sources."""
    found = {}
    for path in sorted((CHECKOUT / "tests").rglob("test_*.py")):
        file = path.relative_to(CHECKOUT)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for number in ids_in(node.name):
                    found.setdefault(number, set()).add(f"{file}::{node.name}")
    return found
