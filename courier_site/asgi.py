"""The ASGI application: health, the API plane, the admin plane, and the life of the process."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "courier_site.settings")
django.setup(set_prefix=False)

from courier_site.planes import Courier  # noqa: E402  # models need Django to be set up

application = Courier()
