"""Tables on disk: rows of the ledger in RocksDB, beside SQLite and a dictionary.

Each store is measured in a process of its own. The rows are those of decided requests, written as a
recovery writes them; RocksDB and SQLite also write the index and a checkpoint. ``TABLE_ROWS`` sets
the number of rows.
"""

import asyncio
import multiprocessing
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil

from agents.caching.row_expiry import expiry_of
from agents.ledger.request_state import Decided, RequestSnapshot, is_open
from benchmarks.measuring import load_average
from schemas.codec import encode
from streams.state_stores import Checkpoint, InMemoryStore, RowFields
from streams.state_stores.rocksdb import RocksDbStore

ROWS = int(os.environ.get("TABLE_ROWS", "1_000_000"))
LOOK_UPS = 50_000
PARTITIONS = 4
POLL_ROWS = 500
"""Rows of a poll of the recovery."""

NOW = 1_764_000_000.0
MEBIBYTE = 2**20

Put = Callable[[bytes, bytes, int], None]
Get = Callable[[bytes], bytes | None]


def request_key(number: int) -> bytes:
    """Return a pseudo-random request id."""
    return b"%016x" % (number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)


def row(number: int, expires_at: float | None = None) -> bytes:
    """Return the row of a decided request; by default the rows expire at 500 a second."""
    snapshot = RequestSnapshot(
        url=f"https://www.tiktok.com/@someone/video/{7_000_000_000_000_000_000 + number}",
        received_at=datetime.fromtimestamp(NOW, UTC),
        trace_id=f"{random.getrandbits(128):032x}",
    )
    record_id = f"audit/{number % PARTITIONS}/{number}"
    if expires_at is None:
        expires_at = NOW + number // 500
    return encode(Decided(record_id=record_id, expires_at=expires_at, job=snapshot))


def measure_rocksdb(directory: Path) -> None:
    store = _opened(directory)
    longest = _fill(store.put, lambda last: store.set_checkpoint(0, Checkpoint(last, 0)))
    _look_up(store.get)
    expired, longest_slice = 0, 0.0
    started = slice_at = time.perf_counter()
    for keys in store.expired(NOW + ROWS / 5_000):
        for each in keys:
            store.put(each, None, int(each, 16) % PARTITIONS)
        expired += len(keys)
        longest_slice = max(longest_slice, time.perf_counter() - slice_at)
        slice_at = time.perf_counter()
    seconds = time.perf_counter() - started
    print(f"  sweep: {expired:,} rows in {seconds:.2f} s", end=", ")
    print(f"longest slice {longest_slice * 1e3:.0f} ms")
    started = time.perf_counter()
    store.close()
    print(f"  close {time.perf_counter() - started:.2f} s", end=", ")
    started = time.perf_counter()
    with closing(_opened(directory)) as store:
        print(f"open {time.perf_counter() - started:.2f} s, {len(store):,} rows")
    size = sum(each.stat().st_size for each in directory.iterdir())
    print(f"  {size / ROWS:.0f} B on disk per row; longest write {longest * 1e3:.0f} ms")


def _opened(directory: Path) -> RocksDbStore:
    store = RocksDbStore(directory, RowFields(expiry_of, is_open))
    store.open()
    store.assign(range(PARTITIONS))
    return store


def measure_dictionary(_directory: Path) -> None:
    store = InMemoryStore()
    _fill(store.put, lambda _: None)
    _look_up(store.get)


def measure_sqlite(directory: Path) -> None:
    """Write the same rows, index and checkpoint to SQLite, without waiting for the disk either."""
    with closing(sqlite3.connect(directory / "rows.db", isolation_level=None)) as database:
        database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536;"
            "CREATE TABLE r(k BLOB PRIMARY KEY, p INT, e INT, v BLOB) WITHOUT ROWID;"
            "CREATE INDEX x ON r(p, e); CREATE TABLE c(p INTEGER PRIMARY KEY, at INT);"
        )
        pending: list[tuple[bytes, int, int, bytes]] = []

        def put(name: bytes, value: bytes, partition: int) -> None:
            pending.append((name, partition, int(expiry_of(value)), value))

        def write(last: int) -> None:
            database.execute("BEGIN")
            database.executemany("INSERT OR REPLACE INTO r VALUES(?, ?, ?, ?)", pending)
            database.execute("INSERT OR REPLACE INTO c VALUES(0, ?)", (last,))
            database.execute("COMMIT")
            pending.clear()

        def get(name: bytes) -> bytes | None:
            found = database.execute("SELECT v FROM r WHERE k = ?", (name,)).fetchone()
            return None if found is None else found[0]

        _fill(put, write)
        _look_up(get)


def _fill(put: Put, after_slice: Callable[[int], None]) -> float:
    """Write all rows; print the rate; return the longest time of a slice."""
    longest = spent = 0.0
    for first in range(0, ROWS, POLL_ROWS):
        rows = [(request_key(number), row(number)) for number in range(first, first + POLL_ROWS)]
        started = time.perf_counter()
        for number, (name, value) in enumerate(rows):
            put(name, value, number % PARTITIONS)
        after_slice(first + POLL_ROWS)
        seconds = time.perf_counter() - started
        longest, spent = max(longest, seconds), spent + seconds
    size = psutil.Process().memory_info().rss / MEBIBYTE
    print(f"  {ROWS / spent:,.0f} rows/s, RSS {size:.0f} MiB")
    return longest


def _look_up(get: Get) -> None:
    for name, offset in (("found", 0), ("not found", 10 * ROWS)):
        times = sorted(_times(get, offset))
        p50, p99 = times[LOOK_UPS // 2], times[LOOK_UPS * 99 // 100]
        print(f"  lookup, {name:9}: p50 {p50 * 1e6:.1f} us, p99 {p99 * 1e6:.0f} us")


def _times(get: Get, offset: int) -> Iterator[float]:
    for number in random.choices(range(ROWS), k=LOOK_UPS):
        name = request_key(number + offset)
        started = time.perf_counter()
        found = get(name)
        yield time.perf_counter() - started
        assert (found is None) == bool(offset)


async def main() -> None:
    print(f"{ROWS:,} rows of {len(row(0))} bytes")
    context = multiprocessing.get_context("spawn")
    for measure in (measure_rocksdb, measure_sqlite, measure_dictionary):
        print(measure.__name__.removeprefix("measure_"), flush=True)
        with tempfile.TemporaryDirectory() as directory:
            process = context.Process(target=partial(measure, Path(directory)))
            process.start()
            await asyncio.to_thread(process.join)
            assert process.exitcode == 0
    print(load_average())


if __name__ == "__main__":
    asyncio.run(main())
