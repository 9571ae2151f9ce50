"""Configurations of the Couriers under test, as manifests."""

#: Keys that the tests bring along: long enough, and of nobody.
KEY = "e2e-key-0123456789abcdef0123456789abcdef"
UPSTREAM_KEY = "sk-upstream-e2e-fedcba9876543210"


def manifest(upstream_url, *, models=("tiny",), limits=None, keys=(KEY,), **provider):
    """One provider, some models and keys. The further fields are the provider's."""
    return {
        "version": 1,
        "providers": [
            {
                "name": "scripted",
                "kind": "openai_compatible",
                "base_url": upstream_url,
                "keys": [{"name": "first", "secret": UPSTREAM_KEY}],
                **provider,
            }
        ],
        "models": [model(name) for name in models],
        "teams": [{"name": "research"}],
        "keys": [key(secret, number, limits) for number, secret in enumerate(keys)],
    }


def model(name, provider="scripted", **fields):
    return {
        "name": name,
        "routes": [{"provider": provider, "upstream_model": name}],
        "prices": [{"from": "2026-01-01", "input": "1", "output": "2"}],
        **fields,
    }


def key(secret=KEY, number=0, limits=None, **fields):
    """One key of the team."""
    named = {"name": f"key-{number}", "team": "research", "secret": secret, "models": ["*"]}
    return {**named, **({"limits": limits} if limits else {}), **fields}
