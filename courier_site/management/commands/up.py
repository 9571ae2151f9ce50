"""Starts all of Courier in the foreground: `make run`."""

from __future__ import annotations

import http.client
import os
import shlex
import socket
import sys
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings
from django.core.management.base import BaseCommand

from courier_site import checks
from courier_site.listener import CannotListen, bound, refuse_new
from courier_site.manifest import ManifestError
from courier_site.preparation import Preparation, prepare
from courier_site.serve import LISTENER
from courier_site.supervisor import Child, Supervisor

#: How long a server may take to settle what is left after the drain, in seconds.
SETTLING_S = 5.0
WORKER_GRACE_S = 1.5
QUIET = {
    # On a laptop people may well be root; Celery's sermon about it is many lines long.
    "PYTHONWARNINGS": "ignore::UserWarning:celery.platforms,ignore::RuntimeWarning:celery.platforms"
}
WORKER = (
    *("-m", "celery", "--quiet", "-A", "courier_site", "worker", "--beat"),
    *("--pool", "threads", "--concurrency", "2"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)


class Command(BaseCommand):
    help = "Prepare the database, start the server and its worker, and stay in the foreground."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            listener = bound(settings.COURIER_HOST, settings.COURIER_PORT)
            preparation = prepare()
            checks.require()
        except (CannotListen, checks.Misconfigured, ManifestError) as error:
            self.stderr.write(str(error))
            sys.exit(1)
        for line in (*preparation.outcome.warnings, *preparation.outcome.changes):
            self.stdout.write(line)
        supervisor = Supervisor(_children(listener), self._say)
        supervisor.start()
        try:
            if supervisor.watch(until=_is_ready):
                self._say(_banner(preparation))
                supervisor.watch()
        finally:
            supervisor.tell(settings.COURIER_STOP_DELAY_S)
            refuse_new(listener)
            listener.close()
            supervisor.end()

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _children(listener: socket.socket) -> list[Child]:
    grace_s = settings.COURIER_STOP_DELAY_S + settings.COURIER_DRAIN_S + SETTLING_S
    descriptor = listener.fileno()
    serving = {**os.environ, LISTENER: str(descriptor)}
    server = [sys.executable, "-m", "courier_site.serve"]
    servers = [
        Child(f"server {number}", server, serving, [descriptor], grace_s=grace_s, hurries=True)
        for number in range(1, settings.COURIER_WORKERS + 1)
    ]
    # Its tasks are idempotent and come again; left alone, it takes five seconds to stop.
    worker = [sys.executable, *WORKER]
    return [*servers, Child("worker", worker, {**os.environ, **QUIET}, grace_s=WORKER_GRACE_S)]


def _is_ready() -> bool:
    connection = http.client.HTTPConnection(_host(), settings.COURIER_PORT, timeout=1)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _host() -> str:
    """Where this machine reaches itself."""
    host = settings.COURIER_HOST
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def _origin() -> str:
    host = f"[{_host()}]" if ":" in _host() else _host()
    return f"http://{host}:{settings.COURIER_PORT}"


def _banner(preparation: Preparation) -> str:
    lines = ["", "Courier is ready."]
    if settings.COURIER_ROLE != "gateway":
        lines += [f"  Admin    {_origin()}/admin/", f"  Sign in  {_sign_in(preparation)}"]
    for known in preparation.outcome.keys:
        if known.issued:
            lines.append(f"  API key  {known.key.name}: {known.secret}   (shown only now)")
    if settings.COURIER_ROLE != "admin":
        lines.append(f"  API key  {preparation.key or preparation.key_note}")
        lines += ["", "Try it:", f"  {_curl(preparation)}"]
    return "\n".join([*lines, "", "Ctrl-C stops it."])


def _sign_in(preparation: Preparation) -> str:
    if preparation.new_password:
        return (
            f"{preparation.username}   password {preparation.new_password}   (shown only now; "
            "`python manage.py changepassword` sets another)"
        )
    return f"{preparation.username}   (the password was set before)"


def _curl(preparation: Preparation) -> str:
    question = {
        "model": preparation.model or "MODEL",
        "stream": True,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    return (
        f"curl -N {_origin()}/v1/chat/completions "
        f'-H "Authorization: Bearer {preparation.key or "YOUR_API_KEY"}" '
        f'-H "Content-Type: application/json" -d {shlex.quote(orjson.dumps(question).decode())}'
    )
