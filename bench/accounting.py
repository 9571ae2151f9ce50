"""What accounting costs a request: admission, settlement and spool, in CPU of the gateway.

    accounting.py [--rate 500] [--seconds 20]

One process on a core of its own does, at a fixed rate and with nothing else around it, what
the gateway does to account for a request: it asks Redis for all limits and budgets, opens
and closes the record in the spool, ships it to PostgreSQL, and settles. An idle run of the
same loop is subtracted. Prints microseconds of CPU per request, as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import services
import uvloop
from machine import IS_ROOT

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
MANIFEST = """
version: 1
providers: [{name: bench, kind: echo}]
models:
  - name: tiny
    routes: [{provider: bench, upstream_model: tiny}]
    prices: [{from: 2026-01-01, input: "0.15", output: "0.60", cached_input: "0.075"}]
teams:
  - {name: bench, budgets: [{amount: "1000000", period: month}], limits: {rpm: 100000000}}
keys:
  - name: bench
    team: bench
    secret: KEY
    limits: {rpm: 100000000, tpm: 1000000000000, concurrency: 100000}
    budgets: [{amount: "1000000", period: day}]
"""
KEY = "sk-bench-0123456789abcdefghijklmnopqrstuvwxyz"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=int, default=500, help="requests per second")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--gateway-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--as-child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_child:
        print(json.dumps(uvloop.run(measured(arguments.rate, arguments.seconds))))
    else:
        measure_in_child(arguments)


def measure_in_child(arguments):
    """Start the services and the measured process, each on its core."""
    with tempfile.TemporaryDirectory(prefix="bench-accounting-") as folder:
        Path(folder).chmod(0o711)
        postgresql, database = services.postgresql(folder, arguments.load_core)
        redis, redis_url = services.redis(folder, arguments.load_core)
        try:
            manifest = Path(folder) / "bench.yaml"
            manifest.write_text(MANIFEST.replace("KEY", KEY))
            environ = os.environ | {
                "COURIER_DATA_DIR": f"{folder}/data",
                "DATABASE_URL": database,
                "REDIS_URL": redis_url,
            }
            for command in (["migrate", "--verbosity", "0"], ["apply", str(manifest)]):
                subprocess.run([sys.executable, "manage.py", *command], cwd=CHECKOUT, env=environ,
                               check=True, stdout=subprocess.DEVNULL)  # fmt: skip
            again = [*sys.argv[1:], "--as-child"]
            pinned = ["taskset", "-c", str(arguments.gateway_core)]
            realtime = ["chrt", "-r", "1"] if IS_ROOT else []
            subprocess.run([*realtime, *pinned, sys.executable, __file__, *again], env=environ,
                           cwd=CHECKOUT, check=True)  # fmt: skip
        finally:
            redis.stop()
            postgresql.stop()


async def measured(rate, seconds):
    """Microseconds of CPU per request at `rate`, and what of it the shipper's thread has."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "courier_site.settings")
    sys.path.insert(0, str(CHECKOUT))
    import django

    await asyncio.to_thread(django.setup)
    from accounts import admission, principals
    from registry import snapshot
    from usage import budget_keeper, recorder

    await asyncio.to_thread(snapshot.refresh)
    await asyncio.to_thread(recorder.start)
    budget_keeper.start()
    await admission.start()
    principal = await principals.authenticate(KEY)
    model = snapshot.current().model("tiny")
    await asyncio.sleep(3)  # until Redis is old enough for budgets to be built
    await account_for(principal, model)
    await at_rate(lambda: account_for(principal, model), rate, 3)
    idle = await at_rate(nothing, rate, seconds)
    busy = await at_rate(lambda: account_for(principal, model), rate, seconds)
    await admission.stop()
    await asyncio.to_thread(recorder.stop)
    return {
        "rate": rate,
        "requests": rate * seconds,
        "us_per_request": round((busy["all"] - idle["all"]) / rate / seconds * 1e6, 1),
        "of_it_on_the_event_loop_us": round(
            (busy["loop"] - idle["loop"]) / rate / seconds * 1e6, 1
        ),
    }


async def at_rate(work, rate, seconds):
    """CPU seconds of the process, and of the event loop's thread, while `work` runs at a rate."""
    loop = asyncio.get_running_loop()
    before, began = cpu(), loop.time()
    running = set()
    for number in range(rate * seconds):
        if (wait := began + number / rate - loop.time()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.ensure_future(work())
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    await asyncio.sleep(1)  # for what happens in the background
    after = cpu()
    return {name: after[name] - before[name] for name in after}


def cpu():
    def of(who):
        used = resource.getrusage(who)
        return used.ru_utime + used.ru_stime

    return {"all": of(resource.RUSAGE_SELF), "loop": of(resource.RUSAGE_THREAD)}


async def nothing():
    """What is there without accounting: a request with an id."""
    from lib.ids import made_at, uuid7

    made_at(uuid7())
    await asyncio.sleep(0)


async def account_for(principal, model):
    """One request, as `gateway.exchange` accounts for it."""
    from accounts import admission
    from accounts.admission import Need
    from lib.ids import made_at, uuid7
    from lib.tokens import TokenUsage
    from usage import recorder
    from usage.records import Record

    request_id = uuid7()
    price = model.price_at(made_at(request_id))
    need = Need(200, 100, price.hold_nano(266, 100))
    reservation = await admission.admit(principal, request_id, model.name, need)
    record = Record(
        request_id=request_id,
        started_at=made_at(request_id),
        key_id=principal.key_id,
        key_name=principal.key_name,
        team_id=principal.team_id,
        team_name=principal.team_name,
        operation="chat",
        streamed=False,
        model_asked="tiny",
        model_served="tiny",
        provider_name="bench",
        upstream_model="tiny",
        price_id=price.id,
        attempts=1,
    )
    recorder.open_request(record)
    await asyncio.sleep(0)
    used = TokenUsage(input_tokens=200, output_tokens=80)
    record.input_tokens, record.output_tokens = used.input_tokens, used.output_tokens
    record.cost_nano = record.provider_cost_nano = price.cost_nano(used)
    record.outcome, record.end_reason, record.status = "ok", "complete", 200
    record.usage_source = "provider"
    recorder.close_request(record)
    reservation.settle(input_tokens=200, output_tokens=80, cost_nano=record.cost_nano)


if __name__ == "__main__":
    main()
