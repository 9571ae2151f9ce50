"""The registry in the admin: providers, models, prices."""

from registry.admin import models, prices, providers, routes

__all__ = ["models", "prices", "providers", "routes"]
