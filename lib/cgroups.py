"""The control group that limits the memory of this process, and what is used of it (Linux)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Where a group says its limit and its use, and what its statistics call file pages that have
#: not been used lately: of cgroup v2, and of v1.
V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
#: Version 1 says a number near 2^63 where there is no limit.
UNLIMITED = 1 << 60


@dataclass(frozen=True)
class MemoryGroup:
    """A control group with a limit. All processes in it share what there is."""

    path: Path
    limit: int
    version: tuple[str, str, str] = V2

    def used(self) -> int:
        """Bytes in use that the kernel cannot simply take back: the killer counts the group's,
        not one process's, and file pages that have not been used lately make way first."""
        _, use, inactive = self.version
        kept = 0
        for line in (self.path / "memory.stat").read_text().splitlines():
            if line.startswith(f"{inactive} "):
                kept = int(line.split()[1])
        return int((self.path / use).read_text()) - kept


def memory_group(
    memberships: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> MemoryGroup | None:
    """The tightest of the groups that this process is in; None if none has a limit."""
    try:
        lines = memberships.read_text().splitlines()
    except OSError:
        return None
    limited = [group for line in lines for group in _limited(line, root)]
    return min(limited, key=lambda group: group.limit, default=None)


def _limited(membership: str, root: Path) -> Iterator[MemoryGroup]:
    """Groups with a limit by a line of cgroups(7): `4:memory:/a/b`, or `0::/a/b` of version 2."""
    _, kinds, name = membership.split(":", 2)
    if kinds and "memory" not in kinds.split(","):
        return
    version, top = (V1, root / "memory") if kinds else (V2, root)
    group = top / name.strip("/")
    # In a container the path may be the host's, and what is mounted the container's own group.
    for path in (group, *(above for above in group.parents if above.is_relative_to(top))):
        with contextlib.suppress(OSError, ValueError):
            limit = int((path / version[0]).read_text())
            if limit < UNLIMITED:
                yield MemoryGroup(path, limit, version)
