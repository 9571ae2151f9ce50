"""Faults provoked on purpose: the tools for it, and the tests named after the fault matrix.

Three tools, each over real sockets:

- `upstream.ChaosUpstream` (fixture `chaos`): a provider in a process of its own. It sends what it
  is told to, nonsense included, and keeps an append-only record of what it received and sent.
- `proxy.FaultProxy` (fixture `fault_proxy`): TCP between any two, an upstream, Redis or PostgreSQL:
  latency, jitter, rate, slices, blackhole, cut, reset, all of it also in the middle of an answer.
- `raw.talk` and `raw.Talk`: a client that sends exactly these bytes and reads what comes back.

`figures.figure` notes what was measured; `promises.PROMISES` lists what is promised; and
`python -m tests.faults` runs all of it and writes `docs/faults.md`.
"""
