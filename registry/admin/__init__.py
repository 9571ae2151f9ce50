"""The registry in the admin: providers, models, prices, certifications."""

from registry.admin import (
    certifications,
    interventions,
    models,
    policies,
    prices,
    providers,
    routes,
)

__all__ = ["certifications", "interventions", "models", "policies", "prices", "providers", "routes"]
