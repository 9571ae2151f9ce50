import pytest

from registry import options
from registry.kinds import NEEDS_REGION, PROVIDER_KINDS, default_base_url

REGIONAL = sorted(NEEDS_REGION & PROVIDER_KINDS.keys())


@pytest.mark.parametrize("kind", REGIONAL)
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-2", "us-gov-west-1", "ap-southeast-5"])
def test_a_region_makes_the_base_url(kind, region):
    assert options.complaints(kind, {"region": region}) == []
    assert region in default_base_url(kind, {"region": region})


@pytest.mark.parametrize("kind", REGIONAL)
@pytest.mark.parametrize(
    "region", ["", "x.evil.example/", "us-east-1.evil.example", 7, "US-EAST-1"]
)
def test_what_is_no_region_never_becomes_a_part_of_a_host(kind, region):
    assert options.complaints(kind, {"region": region})
    assert default_base_url(kind, {"region": region}) == ""
