"""One request, from client to upstream and back. Has no tables."""
