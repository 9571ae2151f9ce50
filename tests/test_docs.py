import ast
import importlib
import re

import pytest

from lib.errors import CourierError
from tests.sources import CHECKOUT, modules

SETTINGS = CHECKOUT / "courier_site" / "settings.py"
READS = {"str", "int", "float", "bool", "list", "db_url_config", "secret"}


def error_codes():
    """The codes of every error that a client may see."""
    for path in modules():
        if path.name == "errors.py":
            module = path.relative_to(CHECKOUT).with_suffix("")
            importlib.import_module(".".join(module.parts))
    return sorted({kind.code for kind in subclasses(CourierError) if kind.code})


def subclasses(kind):
    yield kind
    for subclass in kind.__subclasses__():
        yield from subclasses(subclass)


def environment_names():
    """Names that settings.py reads from the environment."""
    names = set()
    for call in ast.walk(ast.parse(SETTINGS.read_text())):
        if not isinstance(call, ast.Call) or not call.args:
            continue
        called = getattr(call.func, "attr", getattr(call.func, "id", ""))
        first = call.args[0]
        if called in READS and isinstance(first, ast.Constant):
            names.add(first.value)
    return sorted(names)


@pytest.fixture(scope="module")
def errors_page():
    return (CHECKOUT / "docs" / "errors.md").read_text()


@pytest.fixture(scope="module")
def operations_page():
    return (CHECKOUT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("code", error_codes())
def test_every_error_code_is_explained(errors_page, code):
    assert f"`{code}`" in errors_page


@pytest.mark.parametrize("name", environment_names())
def test_every_setting_is_explained(operations_page, name):
    assert re.search(rf"`{name}(_FILE)?`", operations_page)
