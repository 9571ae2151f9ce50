"""Reads of the ledger: off the event loop, in few threads, and not for long."""

import asyncio
import threading

import pytest
from django.db import OperationalError

from gateway import ledger_reads
from gateway.errors import LedgerUnavailable
from usage.pieces import NoReport


async def test_what_was_read_is_returned_from_another_thread():
    thread = await ledger_reads.read(threading.current_thread)

    assert thread.name.startswith("ledger")


async def test_a_database_that_is_away_is_told_as_such():
    def fail():
        raise OperationalError("connection refused: password=secret")

    with pytest.raises(LedgerUnavailable) as refusal:
        await ledger_reads.read(fail)

    assert "secret" not in refusal.value.message


async def test_why_there_is_no_report_is_passed_on():
    def refuse():
        raise NoReport("Not so.")

    with pytest.raises(NoReport, match="Not so"):
        await ledger_reads.read(refuse)


async def test_a_database_that_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(ledger_reads, "LONGEST_S", 0.05)
    answers = threading.Event()

    with pytest.raises(LedgerUnavailable):
        await ledger_reads.read(answers.wait)

    answers.set()
    while ledger_reads._waiting:
        await asyncio.sleep(0.01)


async def test_no_more_than_so_many_wait(monkeypatch):
    monkeypatch.setattr(ledger_reads, "MOST_WAITING", 2)
    answers = threading.Event()
    waiting = [asyncio.ensure_future(ledger_reads.read(answers.wait)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(LedgerUnavailable):
        await ledger_reads.read(answers.wait)

    answers.set()
    assert await asyncio.gather(*waiting) == [True, True]
