"""The only connections out."""
