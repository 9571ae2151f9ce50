"""Private PostgreSQL and Redis. `python -m tests.services -- COMMAND` runs a command on them."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REQUIRED = os.environ.get("COURIER_REQUIRE_SERVICES") == "1"
START_WITHIN_S = 60
#: Ports below those of outgoing connections, on Linux and elsewhere.
OURS = 10_000, 32_000
#: Processes that begin at the same time choose differently, whatever seeds `random`.
ANY = random.SystemRandom()


class Unavailable(Exception):
    """This machine cannot run the service. The message says why."""


class Postgres:
    """A cluster of its own: no syncs, no passwords, gone when stopped for good."""

    def __init__(self, within=None):
        self.port = free_port()
        self._bin = _postgres_bin()
        self._user = _unprivileged_user()
        self._dir = _directory_of(self._user, "courier-postgres-", within)
        self._process = None
        self._run("initdb", "-D", self._dir / "data", "-U", "courier", "-A", "trust",
                  "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")  # fmt: skip
        self.start()
        self.create_database("courier")

    def start(self):
        self._process = self._popen(
            "postgres", "-D", self._dir / "data", "-p", self.port, "-h", "127.0.0.1",
            "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "full_page_writes=off",
            "-c", "max_connections=200",
        )  # fmt: skip
        self.wait_until_ready()

    def wait_until_ready(self):
        wait_for(self._is_ready, "PostgreSQL to answer")

    def halt(self):
        """Stop the server at once, and keep its data."""
        stop_process(self._process, signal.SIGQUIT)

    def stop(self):
        self.halt()
        shutil.rmtree(self._dir, ignore_errors=True)

    def url(self, database="courier"):
        return f"postgres://courier@127.0.0.1:{self.port}/{database}"

    def create_database(self, name, template="template1"):
        self._run("createdb", *self._address(), "-T", template, name)
        return self.url(name)

    def drop_database(self, name):
        self._run("dropdb", *self._address(), "--force", "--if-exists", name)

    def dump(self, name):
        """Everything in a database, as text."""
        return self._run("pg_dump", *self._address(), "--inserts", name)

    def _is_ready(self):
        address = self._address()
        ready = [str(part) for part in (self._bin / "pg_isready", *address, "-d", "postgres")]
        return subprocess.run(ready, capture_output=True).returncode == 0

    def _address(self):
        return "-h", "127.0.0.1", "-p", self.port, "-U", "courier"

    def _run(self, program, *arguments):
        process = self._popen(program, *arguments)
        output, _ = process.communicate()
        if process.returncode:
            log = (self._dir / f"{program}.log").read_text(errors="replace")
            raise RuntimeError(f"{program} failed: {log}")
        return output.decode(errors="replace")

    def _popen(self, program, *arguments):
        command = [str(part) for part in (self._bin / program, *arguments)]
        as_user = {"user": self._user, "group": self._user, "extra_groups": []}
        with (self._dir / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._dir,
                stdout=subprocess.PIPE if program != "postgres" else log,
                stderr=log,
                start_new_session=True,
                **(as_user if self._user else {}),
            )


class Redis:
    """A server of its own that writes nothing to disk."""

    def __init__(self, environment=None):
        self.port = free_port()
        self._environment = os.environ | (environment or {})
        self._program = _found("redis-server")
        self._dir = Path(tempfile.mkdtemp(prefix="courier-redis-"))
        self._process = None
        self.start()

    def start(self):
        command = [self._program, "--port", self.port, "--bind", "127.0.0.1", "--save", "",
                   "--appendonly", "no", "--dir", self._dir, "--databases", "64"]  # fmt: skip
        with (self._dir / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self.is_ready, "Redis to answer")

    def halt(self):
        stop_process(self._process, signal.SIGKILL)

    def stop(self):
        self.halt()
        shutil.rmtree(self._dir, ignore_errors=True)

    def url(self, database=0):
        return f"redis://127.0.0.1:{self.port}/{database}"

    def is_ready(self):
        """Whether it answers."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def free_port():
    """A port that nobody has.

    None of those that the kernel hands out to whoever connects: until it is listened on, which may
    take a while, somebody would have it.
    """
    while True:
        port = ANY.randrange(*OURS)
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            return port


def wait_for(condition, what, within_s=START_WITHIN_S, every_s=0.02):
    """Return what `condition` returns as soon as it is true. Raises TimeoutError."""
    give_up_at = time.monotonic() + within_s
    while not (result := condition()):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"Waited {within_s} s for {what}.")
        time.sleep(every_s)
    return result


def stop_process(process, how=signal.SIGTERM, within_s=10):
    """End a process that we started; by force if it does not end in time."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _found(program):
    path = shutil.which(program)
    if path is None:
        raise Unavailable(f"{program} is not on this machine.")
    return path


def _postgres_bin():
    """Where the server's own programs are: Debian keeps them off the PATH."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(installed, key=lambda path: float(path.parts[-3]), default=None)
    return newest.parent if newest else Path(_found("initdb")).resolve().parent


def _unprivileged_user():
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    import pwd

    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise Unavailable("PostgreSQL does not run as root, and no user is postgres.") from None
    return "postgres"


def _directory_of(user, prefix, within):
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
    if user:
        shutil.chown(directory, user, user)
    return directory


def main(command):
    """Run `command` with DATABASE_URL and REDIS_URL set; returns its exit code."""
    with contextlib.ExitStack() as stack:
        try:
            postgres, redis = Postgres(), None
            stack.callback(postgres.stop)
            redis = Redis()
            stack.callback(redis.stop)
        except Unavailable as reason:
            print(f"skipped: {reason}", file=sys.stderr)
            return 1 if REQUIRED else 0
        environment = {"DATABASE_URL": postgres.url(), "REDIS_URL": redis.url()}
        child = subprocess.Popen(command, env=os.environ | environment)
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda number, _: child.send_signal(number))
        return child.wait()


if __name__ == "__main__":
    if sys.argv[1:2] != ["--"] or len(sys.argv) < 3:
        sys.exit("usage: python -m tests.services -- COMMAND [ARGUMENT ...]")
    sys.exit(main(sys.argv[2:]))
