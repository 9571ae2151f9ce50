"""What keys can be allowed to call."""

import importlib
import pkgutil

from accounts.admin.key_forms import OPERATIONS
from gateway import dialects
from gateway.dialects.base import ClientDialect


def operations():
    """The operation of every format that clients speak."""
    for module in pkgutil.iter_modules(dialects.__path__):
        importlib.import_module(f"{dialects.__name__}.{module.name}")
    return {kind.operation for kind in kinds_of(ClientDialect) if hasattr(kind, "operation")}


def kinds_of(kind):
    for each in kind.__subclasses__():
        yield each
        yield from kinds_of(each)


def test_a_key_can_be_allowed_every_operation_that_there_is():
    assert operations() <= set(OPERATIONS)
