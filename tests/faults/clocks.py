"""Wall clocks of other processes that a test sets as it likes, by a library of a few lines."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("clock.c")


class FakeClock:
    """The wall clock of the processes that are started with `environment`; monotonic ones go on."""

    def __init__(self, directory):
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("No clock can be set: cc is not on this machine (apt-get install gcc).")
        library, self._file = Path(directory) / "clock.so", Path(directory) / "clock"
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE]
        subprocess.run(command, check=True)
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "FAKE_CLOCK": str(self._file)}

    def shift_s(self, seconds):
        """From now on the time is so many seconds off."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("l", seconds))
