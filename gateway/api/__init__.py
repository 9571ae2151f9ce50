"""The HTTP face: one file per endpoint family."""
