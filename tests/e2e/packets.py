"""Packets that do not arrive."""

import contextlib
import os
import shutil
import subprocess

import pytest


@contextlib.contextmanager
def vanished(server):
    """No packet reaches this server, on connections that are open either."""
    if os.geteuid() or not shutil.which("iptables"):
        pytest.skip("Only root may drop packets, and only with iptables.")
    rule = ["INPUT", "-i", "lo", "-p", "tcp", "--dport", str(server.port), "-j", "DROP"]
    if subprocess.run(["iptables", "-I", *rule], capture_output=True).returncode:
        pytest.skip("This machine's iptables takes no rules.")
    try:
        yield
    finally:
        subprocess.run(["iptables", "-D", *rule], check=True)
