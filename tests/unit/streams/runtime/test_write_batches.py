import asyncio
from collections.abc import Sequence

import pytest

from streams.runtime import write_batches
from streams.runtime.write_batches import WriteBatches


class Writes:
    """Written and finished batches; writing waits for `acknowledged`."""

    def __init__(self) -> None:
        self.written: list[list[str]] = []
        self.done: list[tuple[list[str], bool]] = []
        self.acknowledged = asyncio.Event()
        self.acknowledged.set()
        self.batches = WriteBatches(self.write, self.on_done)

    async def write(self, records: Sequence[str]) -> None:
        self.written.append([*records])
        await self.acknowledged.wait()

    def on_done(self, records: Sequence[str], task: "asyncio.Task[None]") -> None:
        self.done.append(([*records], task.cancelled()))


@pytest.fixture
async def writes() -> Writes:
    return Writes()


P, Q = ("requests", 0), ("requests", 1)


async def yield_to_tasks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_records_of_one_iteration_are_a_batch_per_partition(writes: Writes) -> None:
    tasks = [writes.batches.add(p, r) for p, r in ((P, "a"), (Q, "b"), (P, "c"))]
    assert tasks[0] is tasks[2] is not tasks[1]
    await yield_to_tasks()
    assert writes.written == [["a", "c"], ["b"]]
    assert writes.done == [(["a", "c"], False), (["b"], False)]


async def test_batch_that_is_being_written_is_not_extended(writes: Writes) -> None:
    writes.acknowledged.clear()
    first = writes.batches.add(P, "a")
    await asyncio.sleep(0)
    assert writes.batches.add(P, "b") is not first
    writes.acknowledged.set()
    await yield_to_tasks()
    assert writes.written == [["a"], ["b"]]


async def test_full_batch_is_not_extended(writes: Writes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_batches, "BATCH_RECORDS", 2)
    for record in "abcde":
        writes.batches.add(P, record)
    await yield_to_tasks()
    assert writes.written == [["a", "b"], ["c", "d"], ["e"]]


@pytest.mark.parametrize("closes_all", [True, False])
async def test_closed_batch_is_not_extended(writes: Writes, *, closes_all: bool) -> None:
    first = writes.batches.add(P, "a")
    if closes_all:
        writes.batches.close_all()
    else:
        writes.batches.close(P)
    first.cancel()
    writes.batches.add(P, "b")
    await yield_to_tasks()
    assert (writes.written, writes.done) == ([["b"]], [(["a"], True), (["b"], False)])


async def test_cancelled_batch_is_done(writes: Writes) -> None:
    writes.acknowledged.clear()
    task = writes.batches.add(P, "a")
    await asyncio.sleep(0)
    task.cancel()
    await yield_to_tasks()
    assert writes.done == [(["a"], True)]
