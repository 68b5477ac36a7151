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
        self.closed = 0
        self.closed_when_written: list[int] = []
        self.batches = WriteBatches(self.write, self.on_done, self.on_close)

    async def write(self, records: Sequence[str]) -> None:
        self.written.append([*records])
        self.closed_when_written.append(self.closed)
        await self.acknowledged.wait()

    def on_close(self) -> None:
        self.closed += 1

    def on_done(self, records: Sequence[str], task: "asyncio.Task[None]") -> None:
        self.done.append(([*records], task.cancelled()))


@pytest.fixture
async def writes() -> Writes:
    return Writes()


async def yield_to_tasks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_records_of_one_iteration_are_a_batch(writes: Writes) -> None:
    first, second = writes.batches.add("a"), writes.batches.add("b")
    assert first is second
    await yield_to_tasks()
    assert writes.written == [["a", "b"]]
    assert writes.done == [(["a", "b"], False)]


async def test_batch_that_is_being_written_is_not_extended(writes: Writes) -> None:
    writes.acknowledged.clear()
    first = writes.batches.add("a")
    await asyncio.sleep(0)
    assert writes.batches.add("b") is not first
    writes.acknowledged.set()
    await yield_to_tasks()
    assert writes.written == [["a"], ["b"]]


async def test_full_batch_is_not_extended(writes: Writes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_batches, "BATCH_RECORDS", 2)
    for record in "abcde":
        writes.batches.add(record)
    await yield_to_tasks()
    assert writes.written == [["a", "b"], ["c", "d"], ["e"]]


async def test_closed_batch_is_not_extended(writes: Writes) -> None:
    first = writes.batches.add("a")
    writes.batches.close()
    first.cancel()
    writes.batches.add("b")
    await yield_to_tasks()
    assert (writes.written, writes.done) == ([["b"]], [(["a"], True), (["b"], False)])


async def test_key_may_join_while_its_batch_is_open(writes: Writes) -> None:
    writes.batches.add("a", b"a")
    assert [writes.batches.may_join(key) for key in (b"a", b"b")] == [True, False]
    await yield_to_tasks()
    assert not writes.batches.may_join(b"a")


async def test_close_of_a_batch_is_reported_before_it_is_written(writes: Writes) -> None:
    writes.batches.add("a")
    assert writes.closed == 0
    await yield_to_tasks()
    assert writes.closed_when_written == [1]


@pytest.mark.parametrize("is_begun", [True, False])
async def test_withdrawal_cancels_a_batch_and_returns_its_other_records(
    writes: Writes, *, is_begun: bool
) -> None:
    writes.acknowledged.clear()
    first, *_ = [writes.batches.add(each) for each in "abc"]
    if is_begun:
        await asyncio.sleep(0)
    writes.batches.close()
    writes.batches.add("d")
    withdrawn = [*writes.batches.withdraw(lambda record, _task: record in "ac")]
    assert withdrawn == [("b", first)]
    writes.acknowledged.set()
    await yield_to_tasks()
    assert sorted(writes.done) == [(["a", "c"], True), (["d"], False)]


async def test_batch_that_was_written_is_not_withdrawn(writes: Writes) -> None:
    writes.batches.add("a")
    writes.batches.add("b")
    await asyncio.sleep(0)
    assert [*writes.batches.withdraw(lambda record, _task: record == "a")] == []
    await yield_to_tasks()
    assert writes.done == [(["a", "b"], False)]


async def test_cancelled_batch_is_done(writes: Writes) -> None:
    writes.acknowledged.clear()
    task = writes.batches.add("a")
    await asyncio.sleep(0)
    task.cancel()
    await yield_to_tasks()
    assert writes.done == [(["a"], True)]
