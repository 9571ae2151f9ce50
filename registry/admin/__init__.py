"""The registry in the admin: providers and their keys, models, policies, prices, certifications."""

from registry.admin import (
    certifications,
    interventions,
    models,
    policies,
    prices,
    providers,
    routes,
    upstream_keys,
)

__all__ = [
    "certifications",
    "interventions",
    "models",
    "policies",
    "prices",
    "providers",
    "routes",
    "upstream_keys",
]
