"""Lets the processes of a command stand still now and then, as on a machine that is busy.

    python -m tests.standstill python -m pytest -vv -m "e2e and not fault" tests/e2e

About once a second it stops one of them, or all at once, for half a second and more, as a machine
does that gives its time to somebody else; clocks go on. `tests/stalls.py` does the same within one
process, more often. What it has stopped, and when, goes to standard error.
"""

import collections
import contextlib
import ctypes
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

#: Seconds, on average, between two.
EVERY_S = float(os.environ.get("COURIER_STANDSTILL_EVERY", "0.8"))
LASTS_S = (0.5, 1.5)
#: How many of them take all processes at once.
ALL = 0.25
PR_SET_CHILD_SUBREAPER = 36


def main(command):
    # Whoever loses its parent stays one of ours.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with subprocess.Popen(command) as child:
        while child.poll() is None:
            time.sleep(random.expovariate(1 / EVERY_S))
            processes = descendants_of(os.getpid())
            if random.random() > ALL:
                processes = one_of(processes)
            if processes:
                stand_still(processes, random.uniform(*LASTS_S))
    return child.returncode


def descendants_of(ancestor):
    """Those that run: whom a test has stopped itself stays stopped."""
    children = collections.defaultdict(list)
    for process, parent, state in everybody():
        children[parent].append((process, state))
    found = [(ancestor, "")]
    for process, _ in found:  # it grows meanwhile
        found += children[process]
    return [process for process, state in found if state in {"R", "S", "D"}]


def everybody():
    """All processes: their number, their parent's, and their state."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # Before it is the name, which may hold anything.
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            yield int(status.parent.name), int(parent), state


def one_of(processes):
    """One, of one program among all: a crowd of one kind must not hide the others."""
    programs = {}
    for process in processes:
        programs.setdefault(program_of(process), []).append(process)
    return [random.choice(random.choice(list(programs.values())))] if programs else []


def program_of(process):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace").replace("\0", " ")[:40]
    return ""


def stand_still(processes, seconds):
    told = f"{len(processes)} processes" if len(processes) != 1 else program_of(processes[0])
    print(f"{time.strftime('%H:%M:%S')} {seconds:.1f} s: {told}", file=sys.stderr)
    send(signal.SIGSTOP, processes)
    time.sleep(seconds)
    random.shuffle(processes)
    send(signal.SIGCONT, processes)


def send(number, processes):
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
