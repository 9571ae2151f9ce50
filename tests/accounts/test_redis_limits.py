"""What can go wrong between Courier and Redis."""

import asyncio
import os
import random
import signal
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from accounts.errors import LimitsUnavailable
from accounts.limits import RING, Figures, Mend
from accounts.redis_limits import KEEPER, RedisStore, SettleCall
from accounts.redis_line import FAILURES_TO_OPEN, MAX_POSTS
from tests.accounts.conftest import a_budget, a_limit, by, costs, rules_of, tokens
from tests.services import free_port

REQUESTS = a_limit("requests", 1_000_000)
TOKENS = a_limit("tokens", 1_000_000)
CONCURRENCY = a_limit("concurrency", 1_000)
LEASES = "courier:limit:key:1:concurrency:1"


@pytest.fixture
async def store(redis_url):
    made = RedisStore(redis_url)
    yield made
    await made.close()


@pytest.fixture
def frozen(redis_server):
    """Freeze Redis for the rest of the test."""
    process = redis_server._process.pid
    yield lambda: os.kill(process, signal.SIGSTOP)
    os.kill(process, signal.SIGCONT)


async def settled(store):
    """Wait until everything that was posted has arrived."""
    line = store._line
    while line._posts or line._connecting or (line._wire and line._wire.awaited):
        await asyncio.sleep(0.01)


async def answers(store, count=1, *, limits=(REQUESTS,)):
    """Whether each of so many admissions, all at once, was answered."""
    asked = (
        store.admit(rules_of(*limits), f"lease-{number}", tokens(0)) for number in range(count)
    )
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(r, LimitsUnavailable) or r.refused < 0 for r in results)
    return [not isinstance(result, LimitsUnavailable) for result in results]


async def until_answered(store):
    while True:
        try:
            return await store.admit(rules_of(REQUESTS), "later", tokens(0))
        except LimitsUnavailable:
            await asyncio.sleep(0.05)


async def test_keys_are_named_for_what_they_count(store, redis_client):
    await store.admit(
        rules_of(REQUESTS, a_limit("tokens", 9, 3600, "team:3"), CONCURRENCY), "a", tokens(5)
    )
    assert sorted(redis_client.keys()) == [
        "courier:limit:key:1:concurrency:1",
        "courier:limit:key:1:requests:60",
        "courier:limit:team:3:tokens:3600",
    ]


async def test_keys_go_away_by_themselves(store, redis_client):
    await store.admit(rules_of(REQUESTS, CONCURRENCY), "a", tokens(0))
    assert all(30 < redis_client.ttl(key) <= 62 for key in redis_client.scan_iter())


@pytest.mark.parametrize("seconds", [RING, 3600])
async def test_a_clock_that_went_back_by_a_window_begins_anew(redis_url, clock, seconds):
    store = RedisStore(redis_url, clock)
    await store.admit(rules_of(REQUESTS), "a", tokens(0))
    clock.pass_s(-seconds)
    look = await store.look(rules_of(REQUESTS))
    await store.close()
    assert look.used == [0]


async def test_time_is_that_of_redis(store, redis_client):
    verdict = await store.admit(rules_of(REQUESTS), "a", tokens(0))
    seconds, microseconds = redis_client.time()
    assert 0 <= seconds * 1_000_000 + microseconds - verdict.now_us < 60_000_000


async def test_f35_scripts_that_redis_forgot_are_sent_again(store, redis_client):
    await answers(store)
    redis_client.script_flush()
    assert await answers(store, 3) == [True] * 3


async def test_a_caller_who_leaves_does_not_mix_up_the_replies(store):
    limits = (a_limit("concurrency", 10_000), a_limit("tokens", 10_000_000))
    rng = random.Random(7)

    async def one(number):
        await asyncio.sleep(rng.random() / 100)
        verdict = await store.admit(rules_of(*limits), f"lease-{number}", tokens(number))
        store.settle(rules_of(*limits), f"lease-{number}", by(1 - number, verdict.newest))

    tasks = [asyncio.create_task(one(number)) for number in range(1, 2001)]
    for task in rng.sample(tasks, 1000):
        asyncio.get_running_loop().call_later(rng.random() / 50, task.cancel)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    finished = sum(result is None for result in results)
    assert all(r is None or isinstance(r, asyncio.CancelledError) for r in results)
    await settled(store)
    assert list((await store.look(rules_of(*limits))).used) == [0, finished]


async def test_a_yes_that_nobody_waits_for_is_given_back(store):
    await answers(store)
    task = asyncio.create_task(store.admit(rules_of(TOKENS, CONCURRENCY), "a", tokens(500)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled(store)
    assert list((await store.look(rules_of(TOKENS, CONCURRENCY))).used) == [0, 0]


async def leave_in_the_moment_of(reply, store, limits, count):
    """Ask, and be cancelled when the reply is there but not yet seen."""
    task = asyncio.create_task(store.admit(rules_of(*limits), "a", tokens(count)))
    await asyncio.sleep(0)
    store._line._calls.pop().succeed(list(reply))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled(store)


async def test_a_yes_in_the_moment_of_leaving_is_given_back(store):
    limits = (TOKENS, CONCURRENCY)
    reply = await store.admit(rules_of(*limits), "a", tokens(500))
    await leave_in_the_moment_of(reply, store, limits, 500)
    assert list((await store.look(rules_of(*limits))).used) == [0, 0]


async def test_a_no_in_the_moment_of_leaving_gives_nothing_back(store):
    limits = (a_limit("tokens", 10), CONCURRENCY)
    await store.admit(rules_of(*limits), "a", tokens(10))
    reply = await store.admit(rules_of(*limits), "b", tokens(10))
    await leave_in_the_moment_of(reply, store, limits, 10)
    assert list((await store.look(rules_of(*limits))).used) == [10, 1]


async def test_a_frozen_redis_is_given_up(store, frozen):
    await answers(store)
    frozen()
    assert await answers(store, 3) == [False] * 3


async def test_a_redis_that_was_frozen_is_used_again(store, frozen, redis_server):
    await answers(store)
    frozen()
    await answers(store)
    os.kill(redis_server._process.pid, signal.SIGCONT)
    assert (await until_answered(store)).refused < 0


async def test_a_lease_that_nobody_was_told_of_is_ended(store, frozen, redis_server, redis_client):
    await answers(store)
    frozen()
    assert await answers(store, limits=(CONCURRENCY,)) == [False]
    os.kill(redis_server._process.pid, signal.SIGCONT)
    await until_answered(store)
    await settled(store)
    assert redis_client.zcard(LEASES) == 0


async def test_without_redis_limited_callers_are_refused(db):
    store = RedisStore(f"redis://127.0.0.1:{free_port()}/0")
    assert await answers(store) == [False]
    await store.close()


async def test_a_redis_that_is_away_is_left_in_peace(db):
    connections = []

    def hang_up(reader, writer):
        connections.append(writer)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    store = RedisStore(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    for _ in range(10):
        assert await answers(store) == [False]
    assert len(connections) == FAILURES_TO_OPEN
    with pytest.raises(LimitsUnavailable):
        store.admit(rules_of(REQUESTS), "refused without waiting", tokens(0)).send(None)
    await store.close()
    server.close()


async def test_a_server_that_speaks_something_else_is_given_up(db, caplog):
    def answer(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    store = RedisStore(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    assert await answers(store) == [False]
    assert "Fatal error" not in caplog.text
    await store.close()
    server.close()


async def test_a_restarted_redis_is_used_again(store, redis_server):
    await answers(store)
    redis_server.halt()
    assert await answers(store) == [False]
    redis_server.start()
    assert (await until_answered(store)).refused < 0


async def test_what_could_not_be_settled_is_settled_later(store, redis_server, redis_client):
    await answers(store)
    redis_server.halt()
    store.settle(rules_of(TOKENS), "a", by(70, [0]))
    assert await answers(store) == [False]
    redis_server.start()
    await until_answered(store)
    await settled(store)
    assert redis_client.hget("courier:limit:key:1:tokens:60", "total") == "70"


async def test_only_so_much_waits_for_redis(db):
    store = RedisStore(f"redis://127.0.0.1:{free_port()}/0")
    for number in range(MAX_POSTS + 10):
        store.settle(rules_of(CONCURRENCY), f"lease-{number}", by(0, [0]))
    assert len(store._line._posts) == MAX_POSTS
    store._line._posts.clear()
    await store.close()


async def test_a_settlement_that_got_lost_never_gives_back_twice(store, redis_client):
    rules = rules_of(TOKENS)
    verdict = await store.admit(rules, "a", tokens(90))
    settlement = SettleCall(store, rules, "a", by(-60, verdict.newest), 0)
    store._line.post(settlement)
    await settled(store)
    settlement.fail()
    await settled(store)
    assert list((await store.look(rules)).used) == [30]


async def test_a_settlement_that_got_lost_takes_again(store):
    rules = rules_of(TOKENS)
    settlement = SettleCall(store, rules, "a", by(90, [5]), 0)
    settlement.sent = 1
    settlement.fail()
    await settled(store)
    assert list((await store.look(rules)).used) == [90]


async def test_a_settlement_is_not_sent_for_ever(store, redis_client):
    redis_client.set("courier:limit:key:1:tokens:60", "not a hash")
    store.settle(rules_of(TOKENS), "a", by(90, [5]))
    await settled(store)
    assert not store._line._posts


async def test_where_there_is_nothing_to_settle_nothing_is_sent(store):
    store.settle(rules_of(REQUESTS, TOKENS), "a", by(0, [5, 5]))
    store.renew(rules_of(REQUESTS, TOKENS), "a", 0)
    assert not store._line._posts


async def test_one_damaged_key_does_not_harm_the_others(store, redis_client):
    redis_client.set("courier:limit:key:2:requests:60", "not a hash")
    damaged = a_limit("requests", 10, scope="key:2")
    good, bad = (
        store.admit(rules_of(REQUESTS), "a", tokens(0)),
        store.admit(rules_of(damaged), "b", tokens(0)),
    )
    results = await asyncio.gather(good, bad, return_exceptions=True)
    assert results[0].refused < 0
    assert isinstance(results[1], LimitsUnavailable)


async def test_closing_delivers_what_is_posted(store, redis_client):
    verdict = await store.admit(rules_of(TOKENS, CONCURRENCY), "a", tokens(500))
    store.settle(rules_of(TOKENS, CONCURRENCY), "a", by(-490, verdict.newest))
    await store.close()
    assert redis_client.hget("courier:limit:key:1:tokens:60", "total") == "10"
    assert redis_client.zcard(LEASES) == 0


async def test_closing_does_not_wait_for_a_redis_that_is_away(db, settings):
    settings.COURIER_REDIS_DEADLINE_S = 0.3
    store = RedisStore(f"redis://127.0.0.1:{free_port()}/0")
    store.settle(rules_of(CONCURRENCY), "a", by(0, [0]))
    await asyncio.wait_for(store.close(), 30)


@pytest.fixture
def password(redis_client):
    redis_client.config_set("requirepass", "open sesame")
    yield "open%20sesame"
    redis_client.config_set("requirepass", "")


@pytest.mark.parametrize("user", ["", "default"])
async def test_a_password_opens_redis(redis_url, password, user):
    store = RedisStore(redis_url.replace("//", f"//{user}:{password}@"))
    assert await answers(store) == [True]
    await store.close()


async def test_a_wrong_password_is_an_outage(redis_url, password, caplog):
    store = RedisStore(redis_url.replace("//", "//:wrong-password@"))
    for _ in range(4):
        assert await answers(store) == [False]
    assert "wrong-password" not in caplog.text
    await store.close()


async def test_the_database_of_the_url_is_used(redis_server, redis_url, redis_client):
    store = RedisStore(redis_server.url(5))
    assert await answers(store) == [True]
    assert redis_client.keys() == []
    await store.close()


@asynccontextmanager
async def relay(redis_server, start):
    """A server that passes everything on to Redis."""
    tasks = []

    async def pump(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader, writer):
        far = await asyncio.open_connection("127.0.0.1", redis_server.port)
        tasks.extend(
            [asyncio.create_task(pump(reader, far[1])), asyncio.create_task(pump(far[0], writer))]
        )

    server = await start(serve)
    yield server
    server.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_unix_socket_leads_to_redis(redis_server, redis_url, tmp_path):
    path = tmp_path / "redis.sock"
    async with relay(redis_server, lambda serve: asyncio.start_unix_server(serve, path)):
        store = RedisStore(f"unix://{path}?db=0")
        assert await answers(store) == [True]
        await store.close()


@pytest.fixture
def certificate(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "server.pem"
    path.write_bytes(private + made.public_bytes(pem))
    return path


@pytest.mark.parametrize(("trust", "answered"), [("?ssl_ca_certs={}", True), ("", False)])
async def test_tls_is_used_and_verified(redis_server, redis_url, certificate, trust, answered):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def start(serve):
        return asyncio.start_server(serve, "localhost", 0, ssl=context)

    async with relay(redis_server, start) as server:
        port = server.sockets[0].getsockname()[1]
        store = RedisStore(f"rediss://localhost:{port}/0{trust.format(certificate)}")
        assert await answers(store) == [answered]
        await store.close()


async def test_two_instances_admit_as_many_as_one(redis_url):
    stores = [RedisStore(redis_url), RedisStore(redis_url)]
    limits = (a_limit("requests", 600, 86400), a_limit("tokens", 100_000, 86400))
    asked = (stores[n % 2].admit(rules_of(*limits), f"lease-{n}", tokens(10)) for n in range(1000))
    verdicts = await asyncio.gather(*asked)
    assert sum(verdict.refused < 0 for verdict in verdicts) == 600
    assert list((await stores[0].look(rules_of(*limits))).used) == [600, 6000]
    for store in stores:
        await store.close()


async def known(store, budget):
    now_us, _ = await store.claim([budget], "test")
    window = budget.window_at(now_us)
    await store.build([Figures(budget, window, {window: 500})], "test")
    return window


async def test_a_budget_that_is_looked_at_is_kept(store, redis_client):
    budget = a_budget(1_000)
    await known(store, budget)
    redis_client.pexpire(f"courier:budget:{budget.place}", 1_000)
    await store.look(rules_of(budget))
    assert redis_client.ttl(f"courier:budget:{budget.place}") > 86_400


async def test_only_one_compares_at_a_time(store, redis_client):
    assert [await store.lock(token, 5) for token in ("a", "b", "a")] == [True, False, True]
    assert 0 < redis_client.pttl(KEEPER) <= 5_000


async def test_whoever_has_lost_the_lock_corrects_nothing(store, redis_client):
    budget = a_budget(1_000)
    window = await known(store, budget)
    await store.lock("fresh", 5)
    assert await store.mend([Mend(budget, window, cut=100)], "stale") == [0]
    assert await store.mend([Mend(budget, window, cut=100)], "fresh") == [-100]


async def test_a_correction_is_for_what_was_seen(store):
    budget = a_budget(1_000)
    window = await known(store, budget)
    await store.lock("test", 5)
    mends = [Mend(budget, window, cut=100, expected=499), Mend(budget, window - 1, floor=900)]
    assert await store.mend(mends, "test") == [0, 0]


async def test_a_settlement_that_arrived_although_nobody_heard_counts_once(store):
    budget = a_budget(10_000)
    await known(store, budget)
    rules = rules_of(budget)
    verdict = await store.admit(rules, "a", costs(700))
    settlement = SettleCall(store, rules, "a", by(0, cost=300, windows=verdict.windows), 300)
    store._line.post(settlement)
    await settled(store)
    settlement.fail()
    await settled(store)
    assert (await store.look(rules)).spent == [800]


async def test_money_that_nobody_waits_for_is_given_back(store):
    budget = a_budget(10_000)
    await known(store, budget)
    task = asyncio.create_task(store.admit(rules_of(budget), "a", costs(700)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled(store)
    look = await store.look(rules_of(budget))
    assert (look.spent, look.reserved) == ([500], [0])


async def test_a_budget_that_is_used_is_kept(store, redis_client):
    budget = a_budget(1_000)
    await known(store, budget)
    redis_client.pexpire(f"courier:budget:{budget.place}", 60_000)
    await store.admit(rules_of(budget), "a", costs(1))
    assert redis_client.ttl(f"courier:budget:{budget.place}") > 86_400


async def test_a_hold_that_has_ended_leaves_nothing(redis_url, redis_client, clock):
    store, budget = RedisStore(redis_url, clock), a_budget(1_000)
    leases = f"courier:budget:{budget.place}:leases"
    await known(store, budget)
    await store.admit(rules_of(budget), "a", costs(1))
    held, kept_s = redis_client.zcard(leases), redis_client.ttl(leases)
    clock.pass_s(121)
    await store.look(rules_of(budget))
    await store.close()
    assert (held, redis_client.exists(leases)) == (1, 0)
    assert kept_s > 86_400


@pytest.mark.parametrize("rolling", [False, True])
async def test_what_was_admitted_in_a_later_window_than_redis_knows_by_now_counts(
    redis_url, redis_client, clock, rolling
):
    store, budget = RedisStore(redis_url, clock), a_budget(1_000, rolling=rolling)
    await known(store, budget)
    verdict = await store.admit(rules_of(budget), "a", costs(300))
    redis_client.flushdb()
    clock.pass_s(-86_400)
    await known(store, budget)
    store.settle(rules_of(budget), "a", by(0, cost=300, held=300, windows=verdict.windows))
    spent = (await store.look(rules_of(budget))).spent
    clock.pass_s(26 * 3600)
    later = (await store.look(rules_of(budget))).spent
    await store.close()
    assert (spent, later) == ([500 + 300], [0])


async def test_what_is_settled_in_a_budget_that_is_not_known_is_not_kept_for_ever(
    store, redis_client
):
    budget = a_budget(1_000)
    store.settle(rules_of(budget), "a", by(0, cost=300, windows=[0]))
    await settled(store)
    kept = [redis_client.ttl(name) for name in redis_client.scan_iter("courier:budget:*")]
    assert [seconds > 86_400 for seconds in kept] == [True]


async def test_whoever_is_days_behind_redis_is_told_to_wait_and_not_that_it_is_in_vain(
    redis_url, clock
):
    store = RedisStore(redis_url, clock, own_clock=lambda: clock() - 5 * 86_400_000_000)
    budget = a_budget(500)
    await known(store, budget)
    verdict = await store.admit(rules_of(budget), "a", costs(1))
    await store.close()
    assert (verdict.refused, verdict.wait_us) == (0, 1)
