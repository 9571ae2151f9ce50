"""Filters of the templates about usage."""
