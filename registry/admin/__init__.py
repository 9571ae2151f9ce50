"""The registry in the admin: providers, models, prices, certifications."""

from registry.admin import certifications, models, prices, providers, routes

__all__ = ["certifications", "models", "prices", "providers", "routes"]
