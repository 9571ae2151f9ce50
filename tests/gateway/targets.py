"""Targets for tests without a database."""

from registry.snapshot import Target

SECRET = "sk-upstream-of-a-test"


def make_target(number=1, **fields):
    """A target, the first of its route's keys unless told otherwise."""
    return Target(
        **{
            "route_id": number,
            "key_id": None,
            "provider_id": number,
            "provider_name": f"provider-{number}",
            "kind": "openai_compatible",
            "base_url": "http://127.0.0.1:9/v1",
            "upstream_model": f"model-{number}",
            "api_key": SECRET,
            "priority": 0,
            "weight": 1,
            "key_weight": 1,
            "connect_timeout_s": 3.0,
            "first_byte_timeout_s": 60.0,
            "idle_timeout_s": 60.0,
            "total_timeout_s": 600.0,
            "drains": False,
        }
        | fields
    )
