"""One admitted request with its answer. Read this first."""
