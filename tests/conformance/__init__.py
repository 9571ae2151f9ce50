"""Real clients against Courier, in front of real upstreams; `python -m tests.conformance`.

Nothing here is a test of our own making alone: the clients are other people's libraries, and
so are the upstreams. What passes is written to docs/compatibility.md.
"""
