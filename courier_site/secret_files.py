"""Secrets that a laptop makes up for itself, kept in the data directory."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def read_or_make(path: Path, prefix: str = "") -> str:
    """The secret in `path`, made on first use. Safe when several processes start at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(prefix + secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
    try:
        # A hard link is atomic and never replaces: the first process wins, all read the same.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return _read(path)


def _read(path: Path) -> str:
    return path.read_text().strip()
