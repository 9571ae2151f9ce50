"""The registry in the admin: providers, models, prices, certifications."""

from registry.admin import certifications, models, policies, prices, providers, routes

__all__ = ["certifications", "models", "policies", "prices", "providers", "routes"]
