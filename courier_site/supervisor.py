"""Child processes that live and end with this one, and are started again when they die."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

#: Children have this long to end, in seconds, where nothing else is said; then they are killed.
#: After Ctrl-C none has more: somebody is waiting.
GRACE_S = 3.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
#: A child that lived so long had started well: its next pause is the first again.
SETTLED_S = 60.0
CHECK_EVERY_S = 0.05
PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """One program to keep running."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    #: File descriptors that it inherits.
    inherits: Sequence[int] = ()
    #: How long it has to end, in seconds.
    grace_s: float = GRACE_S
    #: Whether it knows SIGINT as a wish to end soon, and not merely to end.
    hurries: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    pause_s: float = FIRST_PAUSE_S
    started_at: float = 0.0
    start_at: float = 0.0

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it in a session of its own: the terminal's Ctrl-C is not for it."""
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603  # our own commands, no shell
            list(self.command),
            env=dict(self.environ),
            pass_fds=self.inherits,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_parent(os.getpid()),  # noqa: PLW1509  # no thread runs yet
        )

    def signal(self, number: int) -> None:
        """Send a signal to it and to whatever it started."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return


class Supervisor:
    """Keeps children running until it is told to stop."""

    def __init__(self, children: Sequence[Child], say: Callable[[str], None]) -> None:
        self.children = children
        self._say = say
        self._told: int | None = None
        #: Whether the children know that there is haste.
        self._has_hurried = False
        #: Seconds that the children have had to end. What nobody had, because the machine stood
        #: still, is none of them: that is why looks are counted, and no clock is asked.
        self._waited_s = 0.0

    def start(self) -> None:
        """Start all children; SIGTERM and SIGINT to this process stop them from now on."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        for child in self.children:
            child.start()

    def watch(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Start again what dies. Returns True once `until` does, False when told to stop."""
        while self._told is None:
            if until():
                return True
            for child in self.children:
                self._look_after(child)
            time.sleep(CHECK_EVERY_S)
        return False

    def tell(self, delay_s: float) -> None:
        """Ask all children to stop, and leave them alone for so long, unless there is haste."""
        for child in self.children:
            if child.runs:
                hurry = self._is_hasty and child.hurries
                child.signal(signal.SIGINT if hurry else signal.SIGTERM)
        self._has_hurried, self._waited_s = self._is_hasty, 0.0
        while self._waited_s < delay_s and not self._is_hasty:
            self._wait()

    def end(self) -> None:
        """Wait for the children that were told to stop, and after the grace time use force."""
        while any(map(self._may_go_on, self.children)):
            self._wait()
        for child in self.children:
            child.signal(signal.SIGKILL)
            if child.process is not None:
                child.process.wait()

    @property
    def _is_hasty(self) -> bool:
        return self._told == signal.SIGINT

    def _wait(self) -> None:
        time.sleep(CHECK_EVERY_S)
        self._waited_s += CHECK_EVERY_S
        if self._is_hasty and not self._has_hurried:
            self._hurry()

    def _hurry(self) -> None:
        """There is haste after all: from now on that is what the children have time for."""
        self._has_hurried, self._waited_s = True, 0.0
        for child in self.children:
            if child.runs and child.hurries:
                child.signal(signal.SIGINT)

    def _may_go_on(self, child: Child) -> bool:
        grace_s = min(child.grace_s, GRACE_S) if self._is_hasty else child.grace_s
        return child.runs and self._waited_s < grace_s

    def _stop(self, number: int, _: object) -> None:
        self._told = number

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.runs:
            return
        if child.process is not None:
            self._mourn(child, now)
        elif now >= child.start_at:
            child.start()

    def _mourn(self, child: Child, now: float) -> None:
        """Say that a child has died, and plan its next start."""
        if now - child.started_at > SETTLED_S:
            child.pause_s = FIRST_PAUSE_S
        code = child.process.returncode if child.process else None
        self._say(f"The {child.name} ended ({code}); it starts again in {child.pause_s:g} s.")
        child.signal(signal.SIGKILL)
        child.process = None
        child.start_at = now + child.pause_s
        child.pause_s = min(child.pause_s * 2, LONGEST_PAUSE_S)


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """What a child does first, so that it ends even if its parent is killed. Linux only."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask_the_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(0)

    return ask_the_kernel
