"""Courier's settings in a data directory of their own, with a password hasher that is quick."""

import atexit
import os
import shutil
import tempfile

#: What says how tests are run, not what they test.
OF_THE_RUN = {
    "COURIER_FIGURES",
    "COURIER_ONLY",
    "COURIER_REQUIRE_SERVICES",
    "COURIER_RESULTS",
    "COURIER_SAMPLES",
    "COURIER_SOAK",
}
# Read by the settings below. Whatever the shell has set must not reach the tests.
for name in [name for name in os.environ if name.startswith("COURIER_")]:
    if name not in OF_THE_RUN:
        del os.environ[name]
os.environ["COURIER_DATA_DIR"] = tempfile.mkdtemp(prefix="courier-test-")
atexit.register(shutil.rmtree, os.environ["COURIER_DATA_DIR"], ignore_errors=True)
# Tests that run at the same time share a Redis, but no database of it.
if os.environ.get("REDIS_URL") and (worker := os.environ.get("PYTEST_XDIST_WORKER")):
    server, _, _ = os.environ["REDIS_URL"].rpartition("/")
    os.environ["REDIS_URL"] = f"{server}/{worker.removeprefix('gw')}"

from courier_site.settings import *  # noqa: E402, F403
from courier_site.settings import (  # noqa: E402
    DATA_DIR,
    DATABASES,
    MIDDLEWARE,
    ON_POSTGRESQL,
)

# A machine that runs tests may stand still for a while.
COURIER_REDIS_DEADLINE_S = 5.0
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
MIDDLEWARE[MIDDLEWARE.index("servestatic.middleware.ServeStaticMiddleware")] = (
    "tests.static_files.StaticFiles"
)
if not ON_POSTGRESQL:
    # A file: threads that share one in-memory database lock each other out at once.
    DATABASES["default"]["TEST"] = {"NAME": DATA_DIR / "test.sqlite3"}
    # Nobody needs it after a power failure.
    DATABASES["default"]["OPTIONS"]["init_command"] += " PRAGMA synchronous=OFF;"
