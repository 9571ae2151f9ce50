"""Named points where a test can end the process as SIGKILL does; of no effect otherwise.

Whoever sets `COURIER_TEST_CRASH_AT` to one of `NAMES` loses the process when it gets there. What
then is on disk, in Redis and in the database is what `tests/e2e/test_crash_points.py` looks at.
"""

from __future__ import annotations

import os
import signal

NAMES = (
    # A request holds its part of limits and budgets, and nothing is written yet.
    "request.held",
    # It is written down as open, and no upstream has been asked.
    "request.opened",
    # Its end is written down; what it held is not settled, and its last byte not sent.
    "request.recorded",
    # It is settled, and its last byte is not sent.
    "request.settled",
    # A batch is in the ledger's transaction, which is not committed.
    "ledger.written",
    # It is committed, and its segment of the spool not cleared.
    "ledger.committed",
    # All that a dead process left is in the ledger, and its segments are still there.
    "leftovers.written",
    # Its segments are gone, and the cursors over them are not.
    "leftovers.cleared",
)

_AT = os.environ.get("COURIER_TEST_CRASH_AT", "")


def reach(name: str) -> None:
    """Go on, unless a test wants the process to end here."""
    if name == _AT:
        os.kill(os.getpid(), signal.SIGKILL)
