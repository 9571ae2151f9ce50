"""A limit of memory for one process, by a control group of its own."""

import contextlib
import os
import time
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup/memory")


class MemoryLimit:
    """A control group (version 1) with so many bytes, below the one that the tests run in."""

    def __init__(self, size):
        self.size = size
        ours = (line.split(":") for line in Path("/proc/self/cgroup").read_text().splitlines())
        within = next((path for _, kind, path in ours if kind == "memory"), None)
        if within is None or not ROOT.is_dir():
            pytest.skip("No memory can be limited: this machine has no cgroup v1 for memory.")
        self._path = ROOT / within.strip("/") / f"courier-test-{os.getpid()}"
        try:
            self._path.mkdir()
        except OSError:
            pytest.skip("No memory can be limited: only root may make a control group.")
        (self._path / "memory.limit_in_bytes").write_text(str(size))

    def take(self, process):
        """Count a process, and all that it will start, in the group from now on."""
        (self._path / "cgroup.procs").write_text(str(process))

    @property
    def most(self):
        """The most bytes that were ever used."""
        return int((self._path / "memory.max_usage_in_bytes").read_text())

    @property
    def kills(self):
        """How many processes the kernel has ended for want of memory."""
        told = (self._path / "memory.oom_control").read_text()
        return int(dict(line.split() for line in told.splitlines()).get("oom_kill", 0))

    def end(self):
        for _ in range(100):
            with contextlib.suppress(OSError):
                self._path.rmdir()
                return
            time.sleep(0.05)
