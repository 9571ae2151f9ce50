"""Children that live and end with their parent."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from courier_site import supervisor
from courier_site.supervisor import Child, Supervisor
from tests.services import wait_for

SLEEPS = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
OBEYED = 7
#: Asked to stop, it has its parent be in haste; told of that, it ends.
HURRIES = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGINT))
signal.signal(signal.SIGINT, lambda *_: os._exit(7))
pathlib.Path("{ready}").touch()
time.sleep(600)
"""
ENDS_LATER = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.2), os._exit(7)))
pathlib.Path("{ready}").touch()
time.sleep(600)
"""
PARENT = """
import sys, time
from courier_site.supervisor import Child
child = Child("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"], {})
child.start()
print(child.process.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _signals_of_this_process():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def said():
    return []


@pytest.fixture
def supervise(said):
    supervisors = []

    def supervise(*programs):
        children = [
            Child(f"child {n}", [sys.executable, "-c", p], {}) for n, p in enumerate(programs)
        ]
        supervisors.append(Supervisor(children, said.append))
        return supervisors[-1]

    yield supervise
    for started in supervisors:
        for child in started.children:
            child.signal(signal.SIGKILL)


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_children_have_sessions_of_their_own(supervise):
    started = supervise(SLEEPS)
    started.start()

    assert os.getsid(started.children[0].process.pid) != os.getsid(0)


def test_a_child_that_dies_is_started_again(supervise, said, monkeypatch):
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0)
    started = supervise(SLEEPS)
    started.children[0].pause_s = 0
    started.start()
    first = started.children[0].process.pid
    os.kill(first, signal.SIGKILL)

    started.watch(
        until=lambda: started.children[0].runs and started.children[0].process.pid != first
    )

    assert said == ["The child 0 ended (-9); it starts again in 0 s."]


def test_a_child_that_keeps_dying_is_started_ever_more_slowly(supervise):
    started = supervise("raise SystemExit(1)")
    child = started.children[0]
    child.pause_s = 0.01
    started.start()

    started.watch(until=lambda: child.pause_s >= 0.04)

    assert child.pause_s == 0.04


def test_ending_stops_every_child(supervise):
    started = supervise(SLEEPS, SLEEPS)
    started.start()

    started.tell(0)
    started.end()

    assert not any(child.runs for child in started.children)


def test_a_child_that_will_not_stop_is_killed(supervise, monkeypatch):
    monkeypatch.setattr(supervisor, "GRACE_S", 0.2)
    started = supervise(STUBBORN)
    started.start()

    started.tell(0)
    started.end()

    assert started.children[0].process.returncode is not None


def test_children_are_told_at_once_and_left_alone_for_a_while(supervise):
    started = supervise(SLEEPS)
    started.start()
    since = time.monotonic()

    started.tell(0.3)

    assert time.monotonic() - since >= 0.3
    assert not started.children[0].runs


def test_who_is_in_haste_waits_for_nothing(supervise):
    started = supervise(SLEEPS)
    started.start()
    signal.raise_signal(signal.SIGINT)
    since = time.monotonic()

    started.tell(60)

    assert time.monotonic() - since < 30


def test_who_comes_to_be_in_haste_is_heeded_by_those_that_can_hurry(
    supervise, tmp_path, monkeypatch
):
    monkeypatch.setattr(supervisor, "GRACE_S", 60)
    started = supervise(HURRIES.format(ready=tmp_path / "ready"))
    child = started.children[0]
    child.hurries, child.grace_s = True, 600
    started.start()
    wait_for((tmp_path / "ready").exists, "its handlers")

    started.tell(600)
    started.end()

    assert child.process.returncode == OBEYED


def test_a_machine_that_stood_still_gave_children_no_time_to_end(supervise, tmp_path, monkeypatch):
    started = supervise(ENDS_LATER.format(ready=tmp_path / "ready"))
    child = started.children[0]
    child.grace_s = 60
    started.start()
    wait_for((tmp_path / "ready").exists, "its handler")
    stood_still_s = 0

    def stand_still(seconds):
        nonlocal stood_still_s
        stood_still_s += 1000
        time.sleep(seconds)

    clock = SimpleNamespace(sleep=stand_still, monotonic=lambda: time.monotonic() + stood_still_s)
    monkeypatch.setattr(supervisor, "time", clock)
    started.tell(0)
    started.end()

    assert child.process.returncode == OBEYED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_watch(supervise, number):
    started = supervise(SLEEPS)
    started.start()
    signal.raise_signal(number)

    assert started.watch() is False


@pytest.mark.skipif(
    sys.platform != "linux", reason="Only Linux tells children of their parent's end."
)
def test_children_end_when_their_parent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    time.sleep(0.2)

    parent.kill()
    parent.wait()

    wait_for(lambda: not lives(child), "the child to end")
