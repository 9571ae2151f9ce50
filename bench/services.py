"""Throw-away PostgreSQL and Redis, in a folder and on a core of their own."""

from __future__ import annotations

import glob
import shutil
import subprocess
from pathlib import Path

from machine import IS_ROOT, Process, free_port, wait_for_port

DATABASE = "courier"


def postgresql(folder, core):
    """A new cluster, with PostgreSQL's own settings. Returns it and its URL."""
    port, data = free_port(), Path(folder) / "postgresql"
    data.mkdir()
    owner = "postgres" if IS_ROOT else None  # the server refuses to run as root
    if owner:
        shutil.chown(data, owner)
    run = {"cwd": data, "user": owner, "group": owner, "check": True, "capture_output": True}
    options = ["--auth=trust", "--encoding=UTF8", "--username=courier"]
    subprocess.run([_postgresql("initdb"), "-D", data, *options], **run)
    listen = ["-h", "127.0.0.1", "-p", port, "-k", data]
    server = Process(
        [_postgresql("postgres"), "-D", data, *listen],
        core,
        Path(folder) / "postgresql.log",
        cwd=data,
        user=owner,
    )
    wait_for_port(port, server, 30)
    address = ["-h", "127.0.0.1", "-p", str(port), "-U", "courier"]
    subprocess.run([_postgresql("createdb"), *address, DATABASE], **run)
    return server, f"postgres://courier@127.0.0.1:{port}/{DATABASE}"


def redis(folder, core):
    """A Redis that keeps nothing on disk. Returns it and its URL."""
    port = free_port()
    listen = ["--bind", "127.0.0.1", "--port", port, "--dir", folder]
    server = Process(
        ["redis-server", *listen, "--save", "", "--appendonly", "no"],
        core,
        Path(folder) / "redis.log",
    )
    wait_for_port(port, server, 30)
    return server, f"redis://127.0.0.1:{port}/0"


def _postgresql(program):
    """PostgreSQL's servers are often not on the path: Debian keeps one folder per version."""
    found = shutil.which(program) or max(
        glob.glob(f"/usr/lib/postgresql/*/bin/{program}"), default=None
    )
    if not found:
        raise FileNotFoundError(f"{program} is not installed: install PostgreSQL.")
    return found
