"""URLs of the admin plane. Those of the API plane are in `gateway.urls`."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from gateway.certify import certify_model, certify_provider, certify_route
from gateway.describe import describe
from gateway.explain import simulate, why
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
    *(
        path(
            f"admin/registry/{row}/<int:pk>/certify/",
            admin.site.admin_view(view),
            name=f"gateway-certify-{name}",
        )
        for row, name, view in (
            ("provider", "provider", certify_provider),
            ("servedmodel", "model", certify_model),
            ("route", "route", certify_route),
        )
    ),
    path(
        "admin/registry/provider/describe/",
        admin.site.admin_view(describe),
        name="gateway-describe",
    ),
    path("admin/simulate/", admin.site.admin_view(simulate), name="gateway-simulate"),
    path("admin/requests/<uuid:request_id>/why/", admin.site.admin_view(why), name="gateway-why"),
    path("admin/", admin.site.urls),
]
