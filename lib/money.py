"""Money inside Courier is an integer of nano-dollars."""

from __future__ import annotations

NANO_PER_DOLLAR = 10**9
