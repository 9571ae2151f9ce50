import ast
import importlib
import json
import re
from ipaddress import ip_address, ip_network

import pytest
import yaml

from lib.errors import CourierError
from tests.sources import CHECKOUT, modules

SETTINGS = CHECKOUT / "courier_site" / "settings.py"
READS = {"str", "int", "float", "bool", "list", "db_url_config", "secret"}


def error_codes():
    """The codes of every error that a client may see."""
    for path in modules():
        if path.name.endswith("errors.py"):
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


@pytest.mark.parametrize("page", sorted(CHECKOUT.glob("docs/*.md")), ids=lambda page: page.name)
def test_every_page_is_named_by_the_readme(page):
    assert f"(docs/{page.name})" in (CHECKOUT / "README.md").read_text()


def test_what_the_example_of_an_environment_sets_reaches_the_containers():
    example = re.findall(r"^([A-Z_]+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE)
    compose = (CHECKOUT / "docker-compose.yml").read_text()

    assert [name for name in example if f"${{{name}:-" not in compose] == []
    assert {"COURIER_MAX_UPLOAD", "COURIER_CERTIFY_NIGHTLY"} <= set(example)


def test_what_the_example_of_an_environment_sets_is_what_holds_without_it():
    compose = (CHECKOUT / "docker-compose.yml").read_text()
    example = (CHECKOUT / ".env.example").read_text()

    for name, value in re.findall(r"^([A-Z_]+)=(.*)$", example, re.MULTILINE):
        assert f"${{{name}:-{value}}}" in compose, name


@pytest.fixture
def compose():
    """What Compose reads where nothing is set."""
    written = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    return json.loads(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", json.dumps(written)))


def test_compose_trusts_its_own_proxy_alone(compose):
    trusted = compose["x-courier"]["environment"]["COURIER_TRUSTED_PROXIES"]
    proxy = compose["services"]["proxy"]["networks"]["default"]["ipv4_address"]
    (network,) = compose["networks"]["default"]["ipam"]["config"]

    assert [each for each in trusted.split(",") if each] == [f"{proxy}/32"]
    assert ip_address(proxy) in ip_network(network["subnet"])
    assert ip_address(proxy) not in ip_network(network["ip_range"])
    assert proxy != network["gateway"]


def test_compose_bounds_the_memory_of_every_courier(compose):
    ours = [each for each in compose["services"].values() if "courier" in each["image"]]

    assert len(ours) == 6
    assert {each["mem_limit"] for each in ours} == {"1g"}
