"""Composition: settings, URLs, the admin site, the commands. May import everything; imported by nobody."""
