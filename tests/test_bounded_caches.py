"""What is remembered has a bound."""

import importlib
import pkgutil
import sys

import pytest

from gateway import refusal
from gateway.dialects.gemini_generate import fields
from lib import vocabularies

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


@pytest.mark.parametrize(
    "read",
    [refusal.dialect_of, fields.camel, vocabularies.vocabulary_of],
    ids=lambda read: read.__name__,
)
def test_s46_a_long_name_that_a_client_made_up_is_kept_nowhere(read):
    made_up = "/v1/" + "made_up/" * 1_000
    known = sys.getrefcount(made_up)

    read(made_up)

    assert sys.getrefcount(made_up) == known


def test_s46_names_of_models_are_kept_as_far_as_they_say_something():
    vocabularies._vocabulary_of.cache_clear()

    for number in range(100):
        vocabularies.vocabulary_of(f"{number}/" + "x" * 1_000)

    assert vocabularies._vocabulary_of.cache_info().currsize == 1
