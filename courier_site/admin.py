"""The admin site: its name, its front page with the state of everything, its search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.core.paginator import InvalidPage
from django.http import Http404, HttpRequest, HttpResponse
from unfold.sites import UnfoldAdminSite

from courier_site.overview import overview

View = Callable[..., HttpResponse]


class CourierAdminSite(UnfoldAdminSite):
    site_title = "Courier"
    site_header = "Courier"
    index_title = "Overview"

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        # It asks with the pages of the apps, which are registered with this site.
        from courier_site.blast.asking import asking_first

        return cast(View, super().admin_view(asking_first(view), cacheable))

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
