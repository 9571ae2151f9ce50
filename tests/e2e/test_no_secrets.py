import asyncio
import base64
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, quote_plus, urlsplit

import httpx
import pytest
import redis

from tests.e2e.client import Call, ask, try_to_ask
from tests.e2e.courier import Courier, SQLite
from tests.e2e.manifests import key, model
from tests.fakes.upstream import (
    CUT,
    DONE,
    OPENING,
    RESET,
    STALL,
    STOP,
    USAGE,
    chunk,
    completion,
    error_body,
    frame,
)
from tests.services import free_port

#: All pages of the admin are read.
pytestmark = pytest.mark.timeout(600)

CLIENT_KEY = "canary-client-key-5f0c2b7e9a1d4836b8e2"
WRONG_KEY = "canary-wrong-key-c41e7a90d2b35f6848aa0"
UPSTREAM_KEY = "sk-canary-upstream-key-93ab51c07d2e4f68"
PROMPT = "canary-prompt-1b9d7e"
COMPLETION = "canary-completion-8e2f04"
PEPPER = "canary-pepper-6a7c1f5e0b9d2348"
SECRET_KEY = "canary-secret-key-0d4b8f6e2a1c9357ffee0123456789"
ENCRYPTION_KEY = "canary-encryption-key-3e5d7c9b1a2f4860"
PASSWORD = "canary-password-b7f3"
POSTGRES_PASSWORD = "canary-postgres-4c9a1e7f"
REDIS_PASSWORD = "canary-redis-82d60b3f5e"

SECRETS = (
    CLIENT_KEY, WRONG_KEY, UPSTREAM_KEY, PEPPER, SECRET_KEY, ENCRYPTION_KEY, PASSWORD,
    POSTGRES_PASSWORD, REDIS_PASSWORD,
)  # fmt: skip
CONTENT = (PROMPT, COMPLETION)
ADMIN_PAGES = (
    "registry/provider/", "registry/servedmodel/", "accounts/apikey/", "accounts/user/",
    "accounts/team/", "usage/usagerecord/", "usage/quarantinedrecord/",
    "usage/alert/", "usage/webhook/",
)  # fmt: skip

SAID = chunk(COMPLETION)
QUOTING = f"Incorrect API key provided: {UPSTREAM_KEY}. You asked: {PROMPT}."
LOCATION = f"http://192.0.2.1/?key={UPSTREAM_KEY}"
LYING = {"prompt_tokens": -1, "completion_tokens": COMPLETION, "total_tokens": 2**70}
#: What the upstream answers for each model.
ANSWERS = {
    "whole": ((completion(COMPLETION),), {}),
    "stream": ((OPENING, SAID, STOP, USAGE, DONE), {}),
    "no-usage": ((OPENING, SAID, STOP, DONE), {}),
    "lying-usage": ((completion(COMPLETION, usage=LYING),), {}),
    "cut": ((OPENING, SAID, CUT), {}),
    "reset": ((OPENING, SAID, RESET), {}),
    "stall": ((OPENING, SAID, STALL), {}),
    "silent": ((STALL,), {}),
    "late": ((completion(COMPLETION),), {"delay": 5}),
    "not-json": ((f"<html>{QUOTING}{COMPLETION}".encode(),), {}),
    "not-a-frame": ((OPENING, SAID, f"data: {{{COMPLETION}\n\n".encode(), DONE), {}),
    "error-frame": ((OPENING, SAID, frame({"error": {"message": QUOTING}})), {}),
    "error-at-once": ((frame({"error": {"message": QUOTING, "code": 401}}),), {}),
    "odd-shape": ((json.dumps({"choices": QUOTING, "usage": [COMPLETION]}).encode(),), {}),
    "not-an-object": ((json.dumps([QUOTING]).encode(),), {}),
    "html": ((f"<html>{QUOTING}</html>".encode(),), {"headers": {"Content-Type": "text/html"}}),
    "redirect": ((b"",), {"status": 302, "headers": {"Location": LOCATION}}),
    "limited": ((error_body(QUOTING),), {"status": 429, "headers": {"Retry-After": "0"}}),
    **{
        f"refused-{status}": ((error_body(QUOTING, code=UPSTREAM_KEY),), {"status": status})
        for status in (400, 401, 403, 404, 422, 500, 503)
    },
}
#: What keeps something of a request, or of who sent it.
NEW_HEADERS = (
    {"Idempotency-Key": "order-1"},
    {"X-Courier-Session": "session-1"},
    {"X-Courier-Tags": "team=blue"},
)
ASKED = [{"role": "user", "content": PROMPT}]
BAD_BODIES = (
    {"messages": PROMPT},
    {"messages": [PROMPT]},
    {"messages": ASKED, "stream": PROMPT},
    {"messages": ASKED, "temperature": PROMPT},
    {"messages": ASKED, "api_key": UPSTREAM_KEY},
    {"model": [PROMPT], "messages": ASKED},
)


def settings_of(upstream):
    timeouts = {"connect": 1, "first_byte": 0.5, "idle": 0.5, "total": 5}
    keys = [{"name": "first", "secret": UPSTREAM_KEY}]
    kind = {"kind": "openai_compatible", "keys": keys, "timeouts": timeouts}
    return {
        "version": 1,
        "providers": [
            {"name": "scripted", "base_url": upstream.url, **kind},
            {"name": "away", "base_url": f"http://127.0.0.1:{free_port()}/v1", **kind},
        ],
        "models": [*(model(name) for name in ANSWERS), model("unreachable", provider="away")],
        "teams": [{"name": "research"}],
        "keys": [key(CLIENT_KEY, limits={"rpm": 1000, "tpm": 10_000_000, "concurrency": 200})],
    }


async def drive(courier):
    """Successes and as many kinds of failure as there are; returns what the client was told."""
    names = [*ANSWERS, "unreachable"]
    asked = [
        try_to_ask(courier, key=CLIENT_KEY, model=name, messages=ASKED, stream=stream)
        for name in names
        for stream in (False, True)
    ]
    replies = list(await asyncio.gather(*asked))
    for body in BAD_BODIES:
        replies.append(await ask(courier, key=CLIENT_KEY, **{"model": "whole", **body}))
    replies.append(await ask(courier, key=WRONG_KEY, model="whole", messages=ASKED))
    replies.append(await ask(courier, key="sk-courier-" + WRONG_KEY, messages=ASKED))
    path = f"/v1/chat/completions?api_key={CLIENT_KEY}"
    replies.append(await ask(courier, key=CLIENT_KEY, path=path, model="whole", messages=ASKED))
    path = f"/v1/nowhere?api_key={CLIENT_KEY}"
    replies.append(await ask(courier, key=CLIENT_KEY, path=path, model="whole", messages=ASKED))
    for headers in NEW_HEADERS:
        options = {"headers": headers, "model": "whole", "messages": ASKED}
        replies += [await ask(courier, key=CLIENT_KEY, **options) for _ in range(2)]
    async with Call(courier, key=CLIENT_KEY, model="stall", messages=ASKED, stream=True) as call:
        await call.read_head()
        call.reset()
    return replies


def sign_in(client):
    page = client.get("login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    form = {"username": "root", "password": "wrong " + PASSWORD, "csrfmiddlewaretoken": token}
    client.post("login/", data=form)
    client.post("login/", data=form | {"password": PASSWORD})


def pages_of(courier):
    """The lists of the admin, and the first page that each leads to."""
    admin = f"{courier.origin}/admin/"
    with httpx.Client(base_url=admin, trust_env=False, timeout=60) as client:
        sign_in(client)
        index = client.get("").text
        yield index
        listed_there = {*ADMIN_PAGES, *re.findall(r'href="/admin/(\w+/\w+/)"', index)}
        for path in sorted(listed_there):
            listed = client.get(path)
            assert listed.status_code == 200, f"{path}: {courier.read_log()[-4000:]}"
            yield listed.text
            if link := re.search(rf'"/admin/{path}([^/"]+)/change/', listed.text):
                changed = client.get(f"{path}{link[1]}/change/", follow_redirects=True)
                assert changed.status_code == 200, f"{path}: {changed.status_code}"
                yield changed.text


def metrics_of(courier):
    return httpx.get(f"{courier.origin}/metrics", trust_env=False, timeout=60).text


def arguments_of(process):
    """How a process was called, which everybody on the machine may read."""
    yield Path(f"/proc/{process}/cmdline").read_text()


def everything_in_redis(url):
    with redis.Redis.from_url(url) as client:
        for name in client.scan_iter():
            read = {
                b"string": client.get,
                b"hash": client.hgetall,
                b"list": lambda key: client.lrange(key, 0, -1),
                b"set": client.smembers,
                b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
                b"stream": client.xrange,
            }[client.type(name)]
            yield f"{name} {read(name)}"


def files_in(directory):
    """What the data directory holds beside the database and what the test itself put there."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != "server.log" and ".sqlite3" not in path.name:
            yield path.read_bytes().decode("latin-1")


def forms_of(word):
    """A word as it may be written: itself, its beginning and end, encoded, and hashed."""
    yield from (word, word[:12], word[-12:], quote(word, safe=""), quote_plus(word))
    yield json.dumps(word)[1:-1]
    # As dumps write binary fields: PostgreSQL's in small letters, SQLite's in capitals.
    yield word.encode().hex()
    yield word.encode().hex().upper()
    yield hashlib.sha256(word.encode()).hexdigest()
    for before in range(3):
        # Where it begins within three bytes decides how it looks; its edges depend on neighbors.
        text = base64.b64encode(bytes(before) + word.encode()).decode()
        yield text[4:-4]
        yield text[4:-4].translate(str.maketrans("+/", "-_"))


def found(words, *texts):
    """Which of these words are in the texts, in any form that a secret may have."""
    forms = {form: word for word in words for form in forms_of(word)}
    return {word for form, word in forms.items() for text in texts if form in text}


def give_passwords(courier):
    """Let PostgreSQL and Redis be reached by names and passwords. The former checks none here."""
    url = urlsplit(courier.database.redis_url)
    with redis.Redis.from_url(courier.database.redis_url) as client:
        rights = {"categories": ["+@all"], "keys": ["*"], "channels": ["*"]}
        client.acl_setuser("canary", enabled=True, passwords=[f"+{REDIS_PASSWORD}"], **rights)
    with_password = url._replace(netloc=f"canary:{REDIS_PASSWORD}@{url.netloc}")
    courier.environment["REDIS_URL"] = with_password.geturl()
    without = courier.environment["DATABASE_URL"]
    courier.environment["DATABASE_URL"] = without.replace("@", f":{POSTGRES_PASSWORD}@")


@pytest.fixture(scope="module")
def canary(make_database, shared_upstream, kind_of_database):
    """A Courier all of whose secrets are known by sight, and which logs all that it can."""
    courier = Courier(
        *make_database(kind_of_database),
        COURIER_KEY_PEPPER=PEPPER,
        SECRET_KEY=SECRET_KEY,
        COURIER_ENCRYPTION_KEYS=ENCRYPTION_KEY,
        COURIER_LOG_LEVEL="DEBUG",
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
        COURIER_IDEMPOTENCY="shared",
    )
    if kind_of_database == "postgres":
        give_passwords(courier)
    courier.apply(settings_of(shared_upstream))
    (courier.directory / "manifest.yaml").unlink()
    yield courier.start()
    courier.stop()


@pytest.fixture(scope="module")
def swept(canary, shared_upstream):
    """What is left behind, place by place, after a day of successes and failures."""
    courier = canary
    for name, (parts, options) in ANSWERS.items():
        shared_upstream.for_model(name, *parts, **options)
    create = ("createsuperuser", "--noinput", "--username", "root", "--email", "root@example.com")
    courier.manage(*create)
    replies = asyncio.run(drive(courier))
    courier.settled()
    pages = list(pages_of(courier))
    told = [metrics_of(courier), courier.manage("export"), *arguments_of(courier._process.pid)]
    # The log of the spool is there for as long as it is written to.
    spooled = list(files_in(courier.directory))
    courier.stop()
    on_disk = isinstance(courier.database, SQLite)
    return SimpleNamespace(
        replies=replies,
        pages=pages,
        told=told,
        log=courier.read_log(),
        dump=courier.database.dump(),
        files=spooled + list(files_in(courier.directory)),
        redis=[] if on_disk else list(everything_in_redis(courier.database.redis_url)),
        records=courier.records("outcome"),
    )


def test_the_sweep_has_seen_successes_and_failures(swept):
    statuses = {reply.status for reply in swept.replies}

    print(f"\n{len(swept.replies)} requests, {sorted(statuses)}, {len(swept.pages)} pages")
    assert {200, 400, 401, 404, 429, 502, 503, 504} <= statuses
    assert len(set(swept.records)) > 6
    assert len(swept.pages) >= len(ADMIN_PAGES)
    assert swept.log


def test_s30_the_log_holds_no_secret_and_no_content(swept):
    assert found(SECRETS + CONTENT, swept.log) == set()


def test_s30_the_database_holds_no_secret_and_no_content(swept):
    assert found(SECRETS + CONTENT, swept.dump) == set()


def test_s30_the_files_hold_no_secret_and_no_content(swept):
    assert any('"end_reason":"complete"' in text for text in swept.files)  # the spool's
    assert found(SECRETS + CONTENT, *swept.files) == set()


def test_s30_redis_holds_no_secret_and_no_content(swept, kind_of_database):
    assert bool(swept.redis) == (kind_of_database == "postgres")
    assert found(SECRETS + CONTENT, *swept.redis) == set()


def test_s30_errors_quote_no_secret_and_no_content(swept):
    refusals = [
        f"{reply.headers} {reply.body.decode()}" for reply in swept.replies if reply.status != 200
    ]

    # A 400 carries the provider's words, less the key: they may repeat what the client wrote.
    assert found((*SECRETS, COMPLETION), *refusals) == set()


def test_s30_an_answer_that_breaks_off_shows_no_secret(swept):
    answers = [f"{reply.headers} {reply.body.decode()}" for reply in swept.replies]

    assert found(SECRETS, *answers) == set()


def test_s30_the_admin_shows_no_secret_and_no_content(swept):
    assert found(SECRETS + CONTENT, *swept.pages) == set()


def test_s30_metrics_exports_and_arguments_hold_no_secret_and_no_content(swept):
    assert all(swept.told)
    assert found(SECRETS + CONTENT, *swept.told) == set()


@pytest.mark.parametrize("hidden", [
    base64.b64encode(f"Bearer {UPSTREAM_KEY}".encode()).decode(),
    base64.urlsafe_b64encode(f"xy{UPSTREAM_KEY}z".encode()).decode(),
    quote(f"key={UPSTREAM_KEY}&x", safe=""),
    json.dumps({"a": json.dumps({"key": UPSTREAM_KEY})}),
    f"{UPSTREAM_KEY[:12]}…",
    f"…{UPSTREAM_KEY[-12:]}",
    UPSTREAM_KEY.encode().hex(),
])  # fmt: skip
def test_s30_what_is_encoded_or_cut_would_have_been_found(hidden):
    assert found(SECRETS, f"a log line with {hidden} in it") == {UPSTREAM_KEY}


def test_what_is_hidden_would_have_been_found():
    assert found(SECRETS, f"a log line with {UPSTREAM_KEY} in it") == {UPSTREAM_KEY}
