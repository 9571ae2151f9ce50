"""Base URLs end where the paths of their kind begin."""

import pytest
from django.core.exceptions import ValidationError

from registry.models import Provider

HOST = "https://acme.openai.azure.com"


def check(url, kind="azure"):
    Provider(name="alpha", kind=kind, base_url=url).clean()


@pytest.mark.parametrize(
    "url",
    [
        HOST,
        f"{HOST}/",
        f"{HOST}/openai",
        f"{HOST}/openai/v1",
        f"{HOST}/openai/v1/",
        "https://gateway.example.com/our/prefix/openai",
    ],
)
def test_azures_address_is_taken_in_every_form_that_its_pages_show(url):
    check(url)


@pytest.mark.parametrize(
    "rest", ["/openai/deployments/gpt-4o", "/openai/v1/chat/completions", "/openai/v2"]
)
def test_an_address_that_says_what_is_asked_for_is_refused(rest):
    with pytest.raises(ValidationError, match="too long"):
        check(HOST + rest)


def test_azure_has_no_address_of_its_own():
    with pytest.raises(ValidationError, match="needs the address"):
        check("")


def test_addresses_of_other_kinds_end_as_they_like():
    check("https://llm.example.com/openai/deployments/x", kind="openai_compatible")
