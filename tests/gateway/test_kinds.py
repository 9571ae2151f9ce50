import pytest

from gateway.kinds import provider_of
from registry.kinds import PROVIDER_KINDS


@pytest.mark.parametrize("kind", sorted(PROVIDER_KINDS))
def test_every_kind_can_be_loaded(kind):
    assert provider_of(kind).kind == kind


def test_a_kind_has_one_adapter():
    assert provider_of("openai") is provider_of("openai")
