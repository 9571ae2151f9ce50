"""Measures Courier beside a direct call, nginx and other gateways, on one machine.

    measure.py list
    measure.py check TARGET...     starts each, shows a plain and a streamed answer
    measure.py run [TARGET...]     measures, and writes results/TIME.jsonl
    measure.py report [FILE...]    tables of the newest, or of these, results

The gateway has one core to itself (--gateway-core); load, provider, database and Redis share
another. See README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import machine
import report
from ledger import Ledger, keeps_limits
from target import HERE, MORE, Target, Unavailable

DEFAULT_TARGETS = ["direct", "nginx", "floor-ninja-lean", "litellm", "courier"]
SCENARIOS = {
    "plain_sat": {
        "what": "plain JSON, 64 connections, each asking again at once, 10 s",
        "provider": "bytes=1024",
        "load": {"connections": 64, "seconds": 10},
    },
    "plain_rate": {
        "what": "plain JSON, 50 requests/s, due at fixed times, 14 s",
        "provider": "bytes=1024",
        "load": {"connections": 64, "seconds": 14, "rate": 50},
        "light": True,
    },
    "stream_burst": {
        "what": "streams of 100 chunks back to back, 16 at a time, 10 s",
        "provider": "chunks=100&interval_ms=0",
        "load": {"connections": 16, "seconds": 10, "stream": 100},
    },
    "stream_translated": {
        "what": "as stream_burst, asked for in the Messages format and translated",
        "provider": "chunks=100&interval_ms=0",
        "speaks": "messages",
        "load": {
            "connections": 16,
            "seconds": 10,
            "stream": 100,
            "path": "/v1/messages",
            "end": '"message_stop"',
        },
    },
    "stream_50": {
        "what": "50 streams of 60 chunks, one each 100 ms",
        "provider": "chunks=60&interval_ms=100",
        "load": {"connections": 50, "requests": 50, "seconds": 20, "ramp": 1, "stream": 60},
        "light": True,
    },
    "stream_500": {
        "what": "500 streams of 100 chunks, one each 100 ms",
        "provider": "chunks=100&interval_ms=100",
        "load": {
            "connections": 500,
            "requests": 500,
            "seconds": 20,
            "ramp": 1,
            "grace": 60,
            "stream": 100,
        },
    },
}
WARM_UP = [
    {"provider": "bytes=1024", "load": {"connections": 16, "seconds": 4}},
    {
        "provider": "chunks=100&interval_ms=0",
        "load": {"connections": 8, "seconds": 3, "stream": 100},
    },
]
#: Seconds that a gateway may refuse after its start.
WAKING_S = 10
#: Seconds after the load in which what a gateway does for it in the background still counts.
TAIL_S = 1.0
MEMORY_EVERY_S = 0.5


class Wrong(Exception):
    """A figure that would not mean what it says."""


def load(target, scenario):
    """Put one scenario's load on the target. Returns what the load generator saw."""
    options = scenario["load"]
    plain, streamed, messages = target.bodies()
    asked = streamed if "stream" in options else plain
    if "speaks" in scenario:
        asked = messages
    command = ["taskset", "-c", str(target.load_core), str(HERE / "bin" / "load")]
    if scenario.get("light") and machine.IS_ROOT:
        command = ["chrt", "-r", "1", *command]
    command += [
        "--port",
        str(target.port),
        "--body",
        str(asked),
    ]
    for header in target.headers:
        command += ["--header", header]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    machine.prefer(process.pid)
    return json.loads(process.communicate(timeout=200)[0])


@contextlib.contextmanager
def peak_memory(process):
    """Yields a list whose last entry is the most memory that the process used, in KB."""
    peak, done = [process.memory_kb()], threading.Event()

    def watch():
        while not done.wait(MEMORY_EVERY_S):
            peak.append(max(peak[-1], process.memory_kb()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


@contextlib.contextmanager
def undisturbed(target, scenario):
    """Under light load, latency is the gateway's own only if nothing else takes the core."""
    processes = [target.gateway, target.provider, target.services.get("redis")]
    processes = [process for process in processes if process and scenario.get("light")]
    for process in processes:
        process.schedule(realtime=True)
    try:
        yield
    finally:
        for process in processes:
            process.schedule(realtime=False)


def spent(target):
    """CPU seconds so far: the gateway's, all that was started here, the machine's."""
    started = {target.gateway, target.provider, *target.services.values()}
    ours = sum(process.cpu_s() for process in started) + machine.own_cpu_s()
    return target.gateway.cpu_s(), ours, machine.busy_s()


def measure(target, name, ledger):
    scenario = SCENARIOS[name]
    target.set_provider(scenario["provider"])
    machine.wait_until_quiet()
    records = ledger.count() if ledger else 0
    before, began = spent(target), time.monotonic()
    with undisturbed(target, scenario), peak_memory(target.gateway) as memory:
        seen = load(target, scenario)
        loaded_s = time.monotonic() - began
        loaded_cpu = target.gateway.cpu_s() - before[0]
        time.sleep(TAIL_S)
    if ledger:
        check_records(ledger.wait_for(records + seen["sent"]) - records, seen["sent"])
    gateway, ours, busy = (b - a for a, b in zip(before, spent(target), strict=True))
    row = {
        "target": target.name,
        "scenario": name,
        "load": seen,
        "cpu_s": round(gateway, 3),
        "cpu_ms_per_request": round(gateway * 1e3 / max(seen["ok"], 1), 4),
        "core_share": round(loaded_cpu / loaded_s, 3),
        "memory_mb": round(memory[-1] / 1024, 1),
        "foreign_cpu": round(max(busy - ours, 0) / (time.monotonic() - began), 3),
    }
    if "stream" in scenario["load"]:
        row["cpu_us_per_chunk"] = round(gateway * 1e6 / max(seen["chunks"], 1), 2)
        row["kb_per_stream"] = round((memory[-1] - memory[0]) / scenario["load"]["connections"], 1)
    return row


def check_records(found, sent):
    print(f"    usage records {found}, requests {sent}", flush=True)
    if found != sent:
        raise Wrong(f"{sent} requests were sent, but {found} usage records were written.")


def warm_up(target):
    plain, *_ = target.bodies()
    for _ in range(WAKING_S):
        status, text = target.post(plain.read_bytes())
        if status != 503:
            break
        time.sleep(1)  # budgets are built when a new Redis has heard of all replicas
    if status != 200:
        raise RuntimeError(f"{target.name} answers {status}: {text[:500]}")
    for scenario in WARM_UP:
        target.set_provider(scenario["provider"])
        load(target, scenario)


def measure_target(target, names):
    """Start the target, measure each scenario, stop it. Yields a row for each."""
    ledger = None
    try:
        target.start()
        warm_up(target)
        if target.keeps_records:
            ledger = Ledger(target.values["postgresql"])
            settle(ledger)
            if not keeps_limits(target.values["redis"]):
                raise Wrong("No limit is kept in Redis.")
        for name in names:
            if SCENARIOS[name].get("speaks", "chat") in target.speaks:
                yield measure(target, name, ledger)
    finally:
        if ledger:
            ledger.close()
        target.stop()


def settle(ledger):
    """Wait until the warm-up's records have all arrived."""
    before = -1
    while (now := ledger.count()) != before:
        before = now
        time.sleep(2)


def summary(row):
    seen = row["load"]
    text = (
        f"  {row['target']:17} {row['scenario']:12} ok {seen['ok']:6} failed {seen['failed']}"
        f"  p50 {seen['latency_ms']['p50']:.2f} p99 {seen['latency_ms']['p99']:.2f} ms"
        f"  CPU {row['cpu_ms_per_request']:.3f} ms/request"
    )
    if "cpu_us_per_chunk" in row:
        text += f" {row['cpu_us_per_chunk']:.1f} µs/chunk, {row['kb_per_stream']:.0f} KB/stream"
        text += f", bad streams {seen['bad_streams']}"
    text += f"  core {row['core_share']:.2f}, other CPU {row['foreign_cpu']:.2f}"
    return text + (f"  {seen['complaint']}" if seen["complaint"] else "")


def available(arguments):
    for name in arguments.names or DEFAULT_TARGETS:
        try:
            yield Target(name, arguments.peers, arguments.gateway_core, arguments.load_core)
        except Unavailable as error:
            print(error)


def run(arguments):
    out = arguments.out or HERE / "results" / time.strftime("%Y%m%d-%H%M%S.jsonl")
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    names = arguments.scenarios.split(",") if arguments.scenarios else list(SCENARIOS)
    failures = 0
    print(f"{machine.description()}; results in {os.path.relpath(out)}")
    for repeat in range(arguments.repeats):
        for target in available(arguments):
            print(f"{target.name}, run {repeat + 1}: {target.version()}", flush=True)
            try:
                for row in measure_target(target, names):
                    print(summary(row), flush=True)
                    with open(out, "a", encoding="utf-8") as file:
                        file.write(json.dumps({**row, "repeat": repeat}) + "\n")
            except (RuntimeError, OSError, Wrong, subprocess.SubprocessError) as error:
                print(f"{target.name}: {error}")
                failures += 1
    return 1 if failures else 0


def check(arguments):
    for target in available(arguments):
        try:
            target.start()
            target.set_provider("bytes=200&chunks=2&interval_ms=10")
            plain, streamed, _ = (body.read_bytes() for body in target.bodies())
            print(f"{target.name}: {target.version()}")
            print("plain:", *target.post(plain))
            print("streamed:", *target.post(streamed))
            print("with a wrong key:", *target.post(plain, ["Authorization: Bearer wrong"]))
        finally:
            target.stop()


def list_targets(arguments):
    own = {file.stem: file for file in sorted((HERE / "targets").glob("*.json"))}
    more = {file.parent.name: file for file in sorted(MORE.glob("*/target.json"))}
    for name, file in (more | own).items():
        print(f"{name:22} {json.loads(file.read_text())['about']}")


def show_report(arguments):
    files = arguments.names or sorted((HERE / "results").glob("*.jsonl"))[-1:]
    if not files:
        print("There are no results yet.")
    for table in report.tables(files, SCENARIOS, arguments.max_foreign):
        print(table)


COMMANDS = {"run": run, "check": check, "list": list_targets, "report": show_report}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("names", nargs="*", help="targets (or their files); results, for a report")
    parser.add_argument("--out", help="file to add the results to")
    parser.add_argument(
        "--peers", default=HERE / ".peers", help="where other gateways are installed"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scenarios", help="comma-separated: " + ",".join(SCENARIOS))
    parser.add_argument("--gateway-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--max-foreign", type=float, help="report: leave out noisier runs (cores)")
    arguments = parser.parse_intermixed_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    os.sched_setaffinity(0, {arguments.load_core})
    return COMMANDS[arguments.command](arguments)


if __name__ == "__main__":
    sys.exit(main())
