"""What a Courier's processes have, of what must not pile up, and how that changes."""

import statistics
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import redis
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.database_troubles import children_of

TOKEN = "metrics-token-of-the-soak"
TEN_MINUTES_S = 600
TICKS_PER_S = 100
#: By what their command lines have in them.
ROLES = {"manage.py up": "supervisor", "courier_site.serve": "server", "celery": "worker"}
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


class Process(NamedTuple):
    """One process at one moment."""

    megabytes: float
    files: int
    threads: int
    cpu_s: float


class Sample(NamedTuple):
    """A Courier at one moment: its processes by role, and what it has elsewhere."""

    at: float
    processes: dict
    tasks: int
    pool: int
    connections: int
    keys: int

    @property
    def counts(self):
        """Everything that is counted and not weighed, by name."""
        each = self.processes.items()
        return {
            **{f"files of the {role}": process.files for role, process in each},
            **{f"threads of the {role}": process.threads for role, process in each},
            "tasks": self.tasks,
            "connections to the upstream": self.pool,
            "connections to PostgreSQL": self.connections,
            "keys in Redis": self.keys,
        }


def taken_of(courier, upstream):
    """A sample of a Courier over PostgreSQL and Redis that shows its metrics for `TOKEN`."""
    with redis.Redis.from_url(courier.database.redis_url) as client:
        keys = client.dbsize()
    return Sample(
        at=time.monotonic(),
        processes=processes_of(courier),
        tasks=int(metric(courier, "courier_tasks")),
        pool=upstream.open_connections,
        connections=courier.database.query(CONNECTIONS)[0][0],
        keys=keys,
    )


def processes_of(courier):
    """{role: what the process has}. The first is the one that was started, the others its own."""
    processes = [courier.process_id, *children_of(courier.process_id)]
    return {role_of(each): look_at(each) for each in processes}


def role_of(process):
    words = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    return next(role for mark, role in ROLES.items() if mark in words)


def look_at(process):
    proc = Path(f"/proc/{process}")
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    # After the name: the state is the first, and the times are the 12th and 13th.
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    return Process(
        megabytes=int(status["VmRSS"].split()[0]) / 1024,
        files=len(list((proc / "fd").iterdir())),
        threads=int(status["Threads"]),
        cpu_s=(int(fields[11]) + int(fields[12])) / TICKS_PER_S,
    )


def metric(courier, name):
    request = urllib.request.Request(f"{courier.origin}/metrics")
    request.add_header("Authorization", f"Bearer {TOKEN}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return next(one.value for family in families for one in family.samples if one.name == name)


def per_ten_minutes(samples, role):
    """By how many MB the memory of a process grows: the slope, by least squares."""
    line = statistics.linear_regression(
        [one.at for one in samples], [one.processes[role].megabytes for one in samples]
    )
    return line.slope * TEN_MINUTES_S


def growth(samples, name):
    """By how many a count grows from the first quarter to the last, as medians: load wavers."""
    quarter = len(samples) // 4
    first, last = (
        statistics.median(one.counts[name] for one in some)
        for some in (samples[:quarter], samples[-quarter:])
    )
    return last - first


def busy_share(samples, role):
    """How much of a core a process takes."""
    first, last = samples[0], samples[-1]
    seconds = last.processes[role].cpu_s - first.processes[role].cpu_s
    return seconds / (last.at - first.at)
