"""The admin site: its name, and its front page with the state of everything."""

from __future__ import annotations

from unfold.sites import UnfoldAdminSite


class CourierAdminSite(UnfoldAdminSite):
    site_title = "Courier"
    site_header = "Courier"
    index_title = "Overview"
