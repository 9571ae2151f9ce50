"""URLs of the admin plane. Those of the API plane are in `gateway.urls`."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from gateway.probe import probe_model, probe_provider

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path(
        "admin/registry/provider/<int:pk>/test/",
        admin.site.admin_view(probe_provider),
        name="gateway-probe-provider",
    ),
    path(
        "admin/registry/servedmodel/<int:pk>/test/",
        admin.site.admin_view(probe_model),
        name="gateway-probe-model",
    ),
    path("admin/", admin.site.urls),
]
