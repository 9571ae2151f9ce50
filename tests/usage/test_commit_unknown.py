"""F48: the database commits, and the answer is lost. The batch is read again and adds nothing."""

import contextlib
import os
import socket
import subprocess
import sys
import threading

import pytest
from django.db import connection

from tests.sources import CHECKOUT
from tests.usage.spools import OwnSpool, empty_log, make_attempt, make_record
from usage.models import UsageAdjustment, UsageAttempt, UsageRecord

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite is in the process"),
]


class CutsAfterCommit:
    """A proxy to the database. It passes COMMIT on, waits for the answer, and hangs up."""

    def __init__(self, host, port, behind):
        self.target = host, int(port)
        #: A commit is only of interest once this statement went by.
        self.behind = behind
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.relay, args=(client,), daemon=True).start()

    def relay(self, client):
        server = socket.create_connection(self.target)
        cut, seen = threading.Event(), b""
        back = threading.Thread(target=self.relay_back, args=(server, client, cut), daemon=True)
        back.start()
        with contextlib.suppress(OSError), client, server:
            while data := client.recv(1 << 16):
                seen += data
                if self.behind in seen and data.endswith(b"COMMIT\x00"):
                    cut.set()
                server.sendall(data)
                if cut.is_set():
                    back.join()
                    self.cuts += 1
                    return
            # A thread that still reads would keep the session alive.
            server.shutdown(socket.SHUT_RDWR)

    def relay_back(self, server, client, cut):
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if cut.is_set():
                    assert b"COMMIT" in data
                    return
                client.sendall(data)


def ship(port, root):
    described = connection.settings_dict
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "courier_site.settings",
        "DATABASE_URL": f"postgres://courier@127.0.0.1:{port}/{described['NAME']}",
        "COURIER_DATA_DIR": str(root),
    }
    command = [sys.executable, "manage.py", "ship_spool"]
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, timeout=60)


def test_f48_a_batch_whose_commit_was_not_answered_is_not_counted_twice(tmp_path):
    dead = OwnSpool(tmp_path / "spool")
    dead.record(*(make_record(tries=[make_attempt()] * 2, tags="blue") for _ in range(50)))
    dead.recorder.open(make_record())
    dead.crash()
    described = connection.settings_dict
    proxy = CutsAfterCommit(described["HOST"], described["PORT"], b"INSERT INTO usage_usagerecord")

    cut_off = ship(proxy.port, tmp_path)
    committed = UsageRecord.objects.count(), UsageAttempt.objects.count()
    again = ship(described["PORT"], tmp_path)

    assert (cut_off.returncode != 0, proxy.cuts) == (True, 1)
    assert committed == (50, 100)
    assert again.returncode == 0, again.stderr
    # The one that was open ends as interrupted; of the others none came a second time.
    assert (UsageRecord.objects.count(), UsageAttempt.objects.count()) == (51, 100)
    assert not UsageAdjustment.objects.exists()
    empty_log()
