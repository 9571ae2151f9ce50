"""Whether a key, team or person has left usage behind: such rows are archived, never deleted.

The log lies above these tables; who keeps one says here how to look into it.
"""

from __future__ import annotations

from collections.abc import Callable

from accounts.models import ApiKey, Team, User

Look = Callable[[ApiKey | Team | User], bool]
_looks: list[Look] = []


def on_question(look: Look) -> None:
    """Have `look` asked whether there is usage of a row."""
    if look not in _looks:
        _looks.append(look)


def left_by(row: ApiKey | Team | User) -> bool:
    """Whether anything refers to it, so that deleting it would lose who spent what."""
    return any(look(row) for look in _looks)
