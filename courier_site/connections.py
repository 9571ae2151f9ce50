"""How many connections there may be: of all clients, and of each address."""

from __future__ import annotations

import resource
from collections import Counter

from django.conf import settings

from gateway.client_address import is_trusted, subscriber_of

#: Files that a process has open beside its connections: databases, spool, the program itself.
OTHER_FILES = 96
#: Of the connections that there may be, so many are for health and the admin only.
RESERVE = 16


class Connections:
    """Those that are open. Without limits there may be any number."""

    def __init__(self) -> None:
        self.most = 0
        self.most_per_address = 0
        self.open = 0
        self.refused = 0
        self._of: Counter[str] = Counter()

    def take_limits(self) -> None:
        """Read the limits from the settings, after as many files as possible were allowed."""
        self.most = settings.COURIER_MAX_CONNECTIONS or _affordable(_raise_file_limit())
        self.most_per_address = settings.COURIER_MAX_CONNECTIONS_PER_ADDRESS

    def begin(self, address: str) -> bool:
        """Count one more connection. Returns whether it may stay."""
        self.open += 1
        has_room = not self.most or self.open <= self.most + RESERVE
        if self.most_per_address and not is_trusted(address):
            subscriber = subscriber_of(address)
            self._of[subscriber] += 1
            has_room = has_room and self._of[subscriber] <= self.most_per_address
        self.refused += not has_room
        return has_room

    def end(self, address: str) -> None:
        """Count one connection less, whether it might stay or not."""
        self.open -= 1
        if self._of:
            subscriber = subscriber_of(address)
            self._of[subscriber] -= 1
            if self._of[subscriber] <= 0:
                del self._of[subscriber]

    @property
    def are_full(self) -> bool:
        """Whether only the reserve is left."""
        return bool(self.most) and self.open > self.most


connections = Connections()


def _affordable(files: int) -> int:
    """Connections for so many files: each may need one to a provider as well."""
    return max((files - OTHER_FILES - RESERVE) // 2, 1)


def _raise_file_limit() -> int:
    """Allow this process as many open files as it may allow itself; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
