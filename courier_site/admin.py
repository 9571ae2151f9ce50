"""The admin site: its name, its front page with the state of everything, its search."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

from django.core.paginator import InvalidPage
from django.http import Http404, HttpRequest, HttpResponse
from unfold.sites import UnfoldAdminSite

from courier_site.overview import overview
from registry.models import RecordedRevision
from registry.revisions import made_by

View = Callable[..., HttpResponse]
#: The parts of the admin whose pages change the configuration.
CONFIGURING = ("registry_", "accounts_")


def _one_revision(view: View) -> View:
    """The same view, which makes all that one form changes one revision, by whoever sent it."""

    @functools.wraps(view)
    def revising(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        page = request.resolver_match
        if request.method != "POST" or not (page and (page.url_name or "").startswith(CONFIGURING)):
            return view(request, *args, **kwargs)
        with made_by(RecordedRevision.Origin.ADMIN, request.user.get_username()):
            return view(request, *args, **kwargs)

    return revising


class CourierAdminSite(UnfoldAdminSite):
    site_title = "Courier"
    site_header = "Courier"
    index_title = "Overview"

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        return cast(View, super().admin_view(_one_revision(view), cacheable))

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"overview": overview(request.user.has_perm), **(extra_context or {})}
        page: HttpResponse = super().index(request, context)
        return page

    def search(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            found: HttpResponse = super().search(request, extra_context)
        except (InvalidPage, ValueError) as error:
            raise Http404("There is no such page of results.") from error
        return found
