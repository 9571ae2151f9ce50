"""A whole Courier, as its own processes, met only through its ports."""
