"""Every route is in a list: of those for keys, for staff, or for everybody. None is by omission."""

import pytest
from django.urls import URLPattern, get_resolver

from gateway.api import api

#: All paths of the API plane. Each needs a key: the gate is before all of them.
FOR_KEYS = {
    "/audio/speech", "/audio/transcriptions", "/audio/translations", "/billing/usage",
    "/billing/budget", "/chat/completions", "/completions", "/embeddings", "/images/generations",
    "/images/edits", "/images/variations", "/models/{path:name}:{custom_method:method}",
    "/tunedModels/{path:name}:{custom_method:method}", "/models/{path:name}",
    "/tunedModels/{path:name}", "/models", "/key", "/messages", "/messages/count_tokens",
    "/moderations", "/rerank", "/responses", "/responses/{path:rest}",
}  # fmt: skip
#: What the admin shows to everybody: the way in, and words for its scripts.
FOR_EVERYBODY = {"admin/login/", "admin/logout/", "admin/jsi18n/"}
#: Leads to the admin, and shows nothing.
LEADS_THERE = {""}
GIVEN = {"int": "1", "str": "x", "path": "1", "uuid": "0" * 32, "slug": "x"}


def patterns(entries, before=""):
    for each in entries:
        route = before + str(each.pattern)
        if isinstance(each, URLPattern):
            yield route
        else:
            yield from patterns(each.url_patterns, route)


def concrete(route):
    """A path for a route, with something where something is to be given."""
    parts = route.replace("^", "").replace("$", "").split("<")
    said = [parts[0]]
    for part in parts[1:]:
        kind, _, rest = part.partition(">")
        said += [GIVEN.get(kind.partition(":")[0], "x"), rest]
    return "/" + "".join(said)


def test_s06_every_route_of_the_api_is_in_the_list():
    routes = {path for _, router in api._routers for path in router.path_operations}

    assert routes == FOR_KEYS


@pytest.mark.django_db
def test_s06_every_route_of_the_admin_is_for_staff_or_in_the_list(client):
    routes = set(patterns(get_resolver("courier_site.urls").url_patterns))
    assert len(routes) > 50
    open_to_all = set()
    for route in routes - LEADS_THERE:
        answer = client.get(concrete(route))
        to_login = answer.status_code == 302 and "/login/" in answer.headers["location"]
        if not to_login and answer.status_code not in {403, 404, 405}:
            open_to_all.add(route)

    assert open_to_all <= FOR_EVERYBODY
