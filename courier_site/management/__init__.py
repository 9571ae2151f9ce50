"""Courier's own commands."""
