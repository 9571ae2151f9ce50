"""What is remembered has a bound."""

import importlib
import pkgutil

import pytest

PACKAGES = ("lib", "registry", "accounts", "usage", "gateway", "courier_site")
#: Without a bound, for what they are asked for is a small part of the program itself.
OF_THE_PROGRAM = {
    "gateway.kinds.provider_of",
    "lib.tokenizer._encoding",
}


def functions():
    for package in map(importlib.import_module, PACKAGES):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" in found.name or found.name.endswith("__main__"):
                continue
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                if hasattr(value, "cache_parameters") and value.__module__ == found.name:
                    yield f"{found.name}.{name}", value


def test_s46_every_cache_of_a_function_has_a_bound():
    endless = {name for name, function in functions() if not function.cache_parameters()["maxsize"]}
    takes_nothing = {
        name for name, function in functions() if not function.__wrapped__.__code__.co_argcount
    }

    assert endless - takes_nothing - OF_THE_PROGRAM == set()


@pytest.mark.parametrize(
    "bound",
    [
        "accounts.lookups.MOST_WAITING",
        "accounts.principals.MAX_KNOWN",
        "accounts.principals.MAX_UNKNOWN",
        "gateway.strangers.MOST_ADDRESSES",
        "courier_site.connections.RESERVE",
        "courier_site.heads.MAX_HEAD",
        "courier_site.serve.BACKLOG",
    ],
)
def test_s46_every_queue_names_its_bound(bound):
    module, _, name = bound.rpartition(".")

    assert 0 < getattr(importlib.import_module(module), name) <= 50_000
