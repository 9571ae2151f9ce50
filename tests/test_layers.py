import re
import tomllib

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.sources import CHECKOUT, modules

PYPROJECT = CHECKOUT / "pyproject.toml"
#: What opens connections, and who may import it.
CLIENTS = re.compile(r"^\s*(import|from) (httpx|aiohttp)\b", re.MULTILINE)
MAY_CONNECT = {
    # Types of answers, for the transports that answer in process.
    "gateway/local_upstreams.py",
    "gateway/upstream.py",
    # The engine of all of them.
    "registry/network.py",
}


def test_imports_point_down_and_translation_does_no_io(capsys):
    status = lint_imports(str(PYPROJECT), no_cache=True, no_logo=True)

    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_the_layers_are_those_that_were_agreed_on():
    contracts = tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["contracts"]

    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert layers == ["courier_site", "gateway", "usage", "accounts", "registry", "lib"]


def test_few_modules_open_connections():
    importing = {
        str(path.relative_to(CHECKOUT)) for path in modules() if CLIENTS.search(path.read_text())
    }

    assert importing <= MAY_CONNECT
