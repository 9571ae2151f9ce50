"""Writes manifests for tests, applies and plans them."""

from io import StringIO

from django.core.management import call_command

from courier_site import manifest

UPSTREAM_SECRET = "sk-upstream-of-a-test"
KEY_SECRET = "a-secret-of-the-tests-0123456789abcdef"
WHOLE = f"""\
version: 1
providers:
  - name: local
    kind: openai_compatible
    base_url: http://127.0.0.1:9001/v1
    keys:
      - name: first
        secret: {UPSTREAM_SECRET}
        weight: 2
    timeouts: {{connect: 3, first_byte: 10.5, idle: 20, total: 300}}
    on_disconnect: drain
    options: {{speaks: [openai-responses]}}
  - {{name: backup, kind: echo}}
models:
  - name: gpt-4o-mini
    strategy: priority
    capabilities: {{context_window: 128000, output_limit: 16384, tools: true, vision: false}}
    on_unsupported: refuse
    routes:
      - provider: local
        upstream_model: tiny
        priority: 0
        weight: 5
        capabilities: {{vision: true}}
        requires_certified: [tools, stream_usage]
      - {{provider: backup, upstream_model: tiny, priority: 1}}
    prices:
      - {{from: 2026-01-01, input: "0.15", output: "0.60", cached_input: "0.075"}}
      - {{from: 2026-06-01T12:30:00Z, free: true}}
      - from: 2026-01-01
        route: {{provider: backup, upstream_model: tiny}}
        input: "1"
        cached_input: "0.1"
        cache_write: "1.25"
        cache_write_1h: "2"
        output: "5"
        reasoning: "6"
        audio_input: "10"
        audio_output: "20"
        request: "0.001"
        image: "0.04"
        search_unit: "0.01"
    aliases: [mini, small]
    max_attempts: 2
    stickiness: session
policies:
  - name: night shift
    position: 10
    description: Cheap at night
    when: {{teams: [research], hours: "22:00-06:00", time_zone: Europe/Paris, needs: [tools]}}
    then: {{prefer: ["backup/*"], max_cost: "0.05"}}
teams:
  - name: research
    budgets: [{{amount: "100.00", period: month, hard: false}}]
    limits: {{rpm: 600, tpm: 100000, concurrency: 50}}
keys:
  - name: demo
    team: research
    secret: {KEY_SECRET}
    models: ["gpt-*"]
    endpoints: [chat]
    limits: {{rps: 2, rpd: 60}}
    budgets: [{{amount: "5.00", period: total}}]
    expires_at: 2027-01-01T00:00:00Z
"""


def document(text, environ=None, **options):
    return manifest.Document("courier.yaml", text, environ or {}, **options)


def apply(text, environ=None, prune=False):
    return manifest.apply(document(text, environ), mark="courier.yaml", prune=prune)


def plan(text, environ=None, prune=False):
    return manifest.plan(document(text, environ), mark="courier.yaml", prune=prune)


def complaints(text, environ=None):
    """What `apply` complains about, without the file's name."""
    try:
        apply(text, environ)
    except manifest.ManifestError as error:
        return [complaint.removeprefix("courier.yaml, ") for complaint in error.complaints]
    return []


def run(command, *arguments):
    """What a command prints to standard output and error, and its exit code."""
    output, errors = StringIO(), StringIO()
    try:
        call_command(command, *arguments, stdout=output, stderr=errors)
    except SystemExit as ended:
        return output.getvalue(), errors.getvalue(), ended.code
    return output.getvalue(), errors.getvalue(), 0
