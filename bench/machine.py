"""Processes on cores of their choice, and what they and the rest of the machine use."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
IS_ROOT = os.geteuid() == 0
#: Ahead of other work on the machine, so that it decides less of the figures.
NICENESS = -10 if IS_ROOT else 0


class Process:
    """A program on one core, in a session of its own, with all that it starts."""

    def __init__(self, command, core, log, env=None, cwd=None, user=None):
        with Path(log).open("ab") as output:
            self.child = subprocess.Popen(
                ["taskset", "-c", str(core), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=env,
                cwd=cwd,
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )
        self.log = Path(log)
        prefer(self.child.pid)

    def members(self):
        """Process id → its figures, of this program and all that descends from it."""
        alive = {int(p.name): _stat(p) for p in PROC.iterdir() if p.name.isdigit()}
        found = {pid for pid, stat in alive.items() if stat and stat["session"] == self.child.pid}
        while more := {p for p, s in alive.items() if s and s["parent"] in found} - found:
            found |= more
        return {pid: alive[pid] for pid in found}

    def cpu_s(self):
        return sum(stat["ticks"] for stat in self.members().values()) / TICKS_PER_S

    def memory_kb(self):
        """Proportional set size: what is shared counts once."""
        return sum(_proportional_kb(pid) for pid in self.members())

    def is_alive(self):
        return self.child.poll() is None

    def schedule(self, *, realtime):
        """Real-time scheduling keeps other work on the machine out of latency figures."""
        policy = ["-r", "-p", "1"] if realtime else ["-o", "-p", "0"]
        for pid in self.members() if IS_ROOT else ():
            subprocess.run(["chrt", "-a", *policy, str(pid)], check=False, capture_output=True)

    def stop(self, wait_s=20, how=signal.SIGTERM):
        members = self.members()
        if self.is_alive():
            self.child.send_signal(how)
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and any(map(_runs, members)):
            self.child.poll()
            time.sleep(0.05)
        for pid in filter(_runs, members):
            os.kill(pid, signal.SIGKILL)
        self.child.wait()


def prefer(pid):
    """Set the niceness of a session's leader and, where the kernel groups by session, of that."""
    if NICENESS:
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
        group = PROC / str(pid) / "autogroup"
        if group.exists():
            group.write_text(str(NICENESS))


def busy_s():
    """Seconds of CPU that the whole machine has used since it started."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def own_cpu_s():
    """CPU of this process and of its children that have ended."""
    return sum(os.times()[:4])


def wait_until_quiet(share=0.25, at_most_s=15.0):
    """Wait, within bounds, until the machine is left mostly alone. Returns its load in cores."""
    deadline = time.monotonic() + at_most_s
    while True:
        before = busy_s()
        time.sleep(1.5)
        load = (busy_s() - before) / 1.5
        if load < share or time.monotonic() > deadline:
            return load


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, at_most_s):
    deadline = time.monotonic() + at_most_s
    while time.monotonic() < deadline:
        if not process.is_alive():
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    tail = process.log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"Nothing listens on port {port}. Its log ends:\n{tail}")


def description():
    """The machine, in a line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in (PROC / "cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        os.uname().machine,
    )
    return f"{model}, {os.cpu_count()} cores, Linux {os.uname().release.split('-')[0]}"


def _stat(folder):
    try:
        text = (folder / "stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return {
        "state": fields[0],
        "parent": int(fields[1]),
        "session": int(fields[3]),
        "ticks": sum(map(int, fields[11:15])),
    }


def _runs(pid):
    stat = _stat(PROC / str(pid))
    return stat is not None and stat["state"] != "Z"


def _proportional_kb(pid):
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
