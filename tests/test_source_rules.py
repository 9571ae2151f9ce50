"""S-12, S-13 and S-17: what no module of the product does, read from its syntax trees."""

import ast

import pytest

from courier_site.celery import app
from tests.sources import CHECKOUT, modules

#: Beside the ledger's package, `usage`: sets a time limit for one lock.
WRITE_SQL = {"courier_site/patience.py", "courier_site/preparation.py"}
#: How Django is given SQL.
RAW_SQL = {"RawSQL", "extra", "raw", "cursor", "execute", "executemany"}
#: Of Redis, which takes no SQL.
NO_SQL = {"pipeline.execute"}
#: What stands in the gaps of statements: tables, partitions and their bounds, and constants.
NAMES_OF_OURS = {
    "LOCK_WITHIN",
    "RECORDS.name",
    "SETTLED",
    "_quoted(role)",
    "_schema()",
    "behind",
    "default",
    "default_of(table)",
    "first",
    "name",
    "names",
    "partition.name",
    "partition.table",
    "privileges",
    "role",
    "rows[sheet.table]",
    "table",
    "told",
    "where",
}
#: What runs text, or objects out of bytes, as code.
RUNS_CODE = {"eval", "exec", "compile", "__import__", "system", "popen", "from_string", "literal"}
#: Modules that only serve to do so, or that hide what is called.
NEVER_IMPORTED = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jinja2", "code"}
#: Compiles no code.
PATTERNS = {"re.compile"}
#: Libraries that open connections of their own, and who may.
CONNECTS = {"aiohttp", "requests", "urllib.request", "urllib3", "http.client", "ftplib"}
CONNECTORS = {
    "gateway/upstream.py",
    "registry/network.py",
    # Asks itself whether it is up.
    "courier_site/management/commands/up.py",
}

SOURCES = {str(path.relative_to(CHECKOUT)): ast.parse(path.read_text()) for path in modules()}


def calls():
    """Every call of every module: the module's path, the name called, and the call."""
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield path, ast.unparse(node.func), node


def imports():
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield path, node.module or ""
                yield from ((path, f"{node.module}.{alias.name}") for alias in node.names)


def last(name):
    return name.rpartition(".")[2]


def test_s12_only_the_ledger_s_modules_write_sql():
    found = {path for path, name, _ in calls() if last(name) in RAW_SQL and name not in NO_SQL}

    assert {path for path in found if not path.startswith("usage/")} <= WRITE_SQL


def statements():
    """What is given to a cursor, with the module that gives it."""
    for path, name, call in calls():
        if last(name) in {"execute", "executemany"} and call.args and name not in NO_SQL:
            yield path, call.args[0]


def gaps_of(statement):
    """What is put into a statement where it is given to a cursor."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FormattedValue):
            yield ast.unparse(node.value)
        elif isinstance(node, ast.Call):
            yield from (ast.unparse(word.value) for word in node.keywords)
            yield from map(ast.unparse, node.args)
        elif isinstance(node, ast.BinOp):
            yield ast.unparse(node)


def test_s12_what_fills_the_gaps_of_a_statement_is_a_name_of_ours():
    gaps = {gap for _, statement in statements() for gap in gaps_of(statement)}

    assert gaps <= NAMES_OF_OURS


def test_s13_no_module_runs_text_as_code():
    found = {(path, name) for path, name, _ in calls() if last(name) in RUNS_CODE}

    assert {(path, name) for path, name in found if name not in PATTERNS} == set()


def test_s13_no_module_imports_what_makes_objects_of_bytes():
    assert {
        (path, name) for path, name in imports() if name.split(".")[0] in NEVER_IMPORTED
    } == set()


def test_s13_yaml_is_read_without_its_tags():
    unsafe = {"load", "load_all", "unsafe_load", "full_load", "full_load_all"}

    assert {path for path, name, _ in calls() if name in {f"yaml.{one}" for one in unsafe}} == set()


def test_s13_no_shell_is_started():
    for path, name, call in calls():
        assert not any(keyword.arg == "shell" for keyword in call.keywords), f"{path}: {name}"


def test_s13_modules_are_named_in_code_alone():
    """A dotted path is imported in one place, from a table that is written there."""
    found = {path for path, name, _ in calls() if last(name) in {"import_string", "import_module"}}

    assert found == {"gateway/kinds.py"}


@pytest.mark.parametrize("setting", ["task_serializer", "result_serializer"])
def test_s13_celery_speaks_json_alone(setting):
    assert app.conf[setting] == "json"
    assert app.conf.accept_content == ["json"]


def test_s17_one_module_makes_connections():
    """What a prompt points to cannot be fetched by accident: nobody else has what it takes."""
    found = {
        path
        for path, name in imports()
        if any(name == one or name.startswith(f"{one}.") for one in CONNECTS)
    }

    assert found <= CONNECTORS


def test_s17_only_the_one_that_serves_requests_sends_to_upstreams():
    sent = {path for path, name, _ in calls() if last(name) == "handle_async_request"}

    assert sent <= CONNECTORS
