"""Middleware of the admin plane. The API plane has none."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import add_never_cache_headers

from courier_site import patience

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

#: The theme's Alpine build evaluates expressions; everything else stays on this origin.
ADMIN_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)

TOO_SLOW = (
    "<!doctype html><title>Courier</title><h1>This page took the database too long</h1>"
    "<p>It was given up, so that others are served. Nothing was changed. Ask for less, such as "
    "fewer days or one team; COURIER_PAGE_TIMEOUT allows more time.</p>"
)
AWAY = (
    "<!doctype html><title>Courier</title><h1>The database does not answer</h1>"
    "<p>Requests to the API go on. Load this page again in a moment.</p>"
)


class DatabaseAway:
    """A page that needs the database says so while it does not answer, instead of failing."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return await self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """503 for what is the database's fault alone."""
        if not isinstance(error, OperationalError | InterfaceError):
            return None
        logger.warning("a page was not shown: %s", type(error.__cause__ or error).__name__)
        if patience.is_over(error):
            return HttpResponse(TOO_SLOW, status=503)
        return HttpResponse(AWAY, status=503, headers={"Retry-After": "1"})


#: Parameters that searches come in, and how long one may be: each word is a condition of a query.
SEARCHES = ("q", "s", "term")
LONGEST_SEARCH = 200
#: What Django lets lists be filtered by, too: an expression may be none, or keep a database busy.
EXPRESSIONS = ("__regex", "__iregex")


def _refusal(request: HttpRequest) -> HttpResponse | None:
    """The answer to what no page can be asked."""
    if any(len(request.GET.get(name, "")) > LONGEST_SEARCH for name in SEARCHES):
        words = f"A search has {LONGEST_SEARCH} characters at most.\n"
    elif any(name.endswith(EXPRESSIONS) for name in request.GET):
        words = "Lists cannot be filtered by regular expressions.\n"
    else:
        return None
    return HttpResponse(words, status=400, content_type="text/plain")


class PrivatePages:
    """No page of the admin is cached, and none loads or runs anything from elsewhere."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # No database holds a NUL, and PostgreSQL fails on being asked for one.
        request.META["QUERY_STRING"] = request.META["QUERY_STRING"].replace("%00", "")
        response = _refusal(request) or await self.get_response(request)
        if not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        response.headers.setdefault("Content-Security-Policy", ADMIN_POLICY)
        return response
