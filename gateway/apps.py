"""The gateway application. It has no models; it adds system checks."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    name = "gateway"
