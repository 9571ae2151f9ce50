"""Faults provoked on purpose: the tools for it, and the tests named after the fault matrix."""
