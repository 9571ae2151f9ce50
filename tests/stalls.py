"""Holds the process up in each test, to find the tests that a busy machine could fail.

    python -m pytest -p tests.stalls -n 12 -m "not e2e and not browser and not fault"

A thread that sleeps without letting go of the interpreter's lock stops all others at once, as a
machine does that gives its time to somebody else. It costs no work, so many processes may wait side
by side. COURIER_STALL is how long, in seconds; COURIER_STALLS how often in one test at most.
"""

import ctypes
import os
import random
import threading

import pytest

STALL_S = float(os.environ.get("COURIER_STALL", "0.7"))
STALLS = int(os.environ.get("COURIER_STALLS", "2"))
#: Its own, for Hypothesis does not want anybody to use the common one.
CHANCE = random.Random()  # noqa: S311 - nothing secret
#: Within how many seconds of a test's begin, or of the last stall, the next one comes.
SOON_S = 0.06
#: A function called through PyDLL keeps the lock.
_sleep = ctypes.PyDLL(None).usleep


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    over = threading.Event()
    thread = threading.Thread(target=_stall_now_and_then, args=(over,), daemon=True)
    thread.start()
    try:
        return (yield)
    finally:
        over.set()
        thread.join()


def _stall_now_and_then(over):
    for _ in range(STALLS):
        if over.wait(CHANCE.uniform(0, SOON_S)):
            return
        _sleep(int(STALL_S * 1_000_000))
