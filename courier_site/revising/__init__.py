"""Revisions of the configuration: recorded, shown, restored, and prepared beforehand."""
