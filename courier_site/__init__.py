"""Composition: settings, URLs, the admin site, the commands. Imported by no other layer."""
