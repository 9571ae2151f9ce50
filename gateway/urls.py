"""URLs of the API plane."""

from __future__ import annotations

from django.urls import path

from gateway.api import api

urlpatterns = [path("", api.urls)]
