"""The ledger on the runtime's write batches: rows of a batch are pending while it is open."""

import asyncio
from typing import Any

import pytest

from agents.ledger import batches
from agents.ledger.agent import Ledger
from agents.ledger.agent import stage as ledger_stage
from agents.ledger.batches import Batches
from agents.ledger.events import TABLE
from agents.ledger.request_state import Decided, read_row
from agents.pipeline.events import audit, propose_result
from agents.pipeline.results import completed
from streams.claims import Claim
from streams.records import Incoming
from streams.runtime.concurrency import ConcurrencyLimit
from streams.runtime.processor import RecordProcessor
from streams.runtime.record_tasks import RecordTasks
from streams.runtime.schedule import scheduled
from streams.runtime.write_batches import BATCH_RECORDS
from streams.stage import synchronous
from tests.unit.agents.builders import ENGINE, INFO, as_incoming, make_job
from tests.unit.streams.runtime.test_processor import FakeProducer, FakeTable


class LedgerRuntime:
    """A ledger with the tasks, batches and processor of its stage; fake tables and producer."""

    def __init__(self) -> None:
        self.outcomes, counts = FakeTable(), FakeTable()
        self.producer = FakeProducer()
        self.finished: list[Incoming] = []
        self.failures: list[BaseException] = []
        ledger = Ledger(
            self.outcomes.get,
            Batches(counts.get, open_seconds=500, remember_seconds=100),
            open_seconds=500,
            remember_seconds=100,
        )
        tables: Any = {TABLE: self.outcomes, batches.TABLE: counts}
        producer: Any = self.producer
        self._processor = RecordProcessor(
            ledger_stage,
            synchronous(ledger.handle),
            producer=producer,
            tables=tables,
            concurrency_limit=ConcurrencyLimit(8),
            topic_prefix="p.",
            on_finished=self.finished.extend,
        )
        self._tasks = RecordTasks(
            on_ended=lambda *_: None, on_task_done=lambda: None, on_failure=self.failures.append
        )
        self._tasks.processor = self._processor

    async def handle(self, *records: Incoming) -> None:
        """Handle records of one poll, and wait until they are written."""
        for record in records:
            processed = self._processor.run_sync(record)
            assert processed is not None
            self._tasks.write(processed, scheduled(record, Claim(1), record.key))
        await asyncio.gather(*self._tasks.running)
        assert self.failures == []

    def outcomes_of(self, request_id: str) -> list[bytes | None]:
        key, topic = request_id.encode(), "p.results.v1"
        written = self.producer.written
        return [each.value for each in written if (each.topic, each.key) == (topic, key)]


def proposal(request_id: str, offset: int, cause: str = "first") -> Incoming:
    job = make_job(request_id=request_id)
    result = completed(job, INFO, cache="hit", engine=ENGINE)
    return as_incoming(propose_result(job, "download", result, cause), offset=offset)


@pytest.fixture
def runtime() -> LedgerRuntime:
    return LedgerRuntime()


async def test_request_that_is_accepted_and_completed_in_one_poll_is_one_publish(
    runtime: LedgerRuntime,
) -> None:
    accepted = audit(make_job(request_id="r"), "validation", "accepted", "cause")
    await runtime.handle(as_incoming(accepted, offset=1), proposal("r", 2))
    assert runtime.producer.calls == [2]
    assert len(runtime.outcomes_of("r")) == 1
    row = read_row(runtime.outcomes.rows["r"])
    assert isinstance(row, Decided)
    assert row.job is not None


async def test_second_proposal_of_a_poll_is_dropped(runtime: LedgerRuntime) -> None:
    await runtime.handle(proposal("r", 1), proposal("r", 2, "second"))
    assert len(runtime.outcomes_of("r")) == 1


@pytest.mark.parametrize("count", [2, BATCH_RECORDS - 1, BATCH_RECORDS])
async def test_refused_outcome_leaves_one_outcome_and_its_row_to_each_other_request(
    runtime: LedgerRuntime, count: int
) -> None:
    runtime.producer.refuse = lambda write: (write.topic, write.key) == ("p.results.v1", b"r0")
    await runtime.handle(*(proposal(f"r{number}", number) for number in range(count)))
    runtime.producer.refuse = lambda _: False
    await runtime.handle(proposal("other", 1_000))
    await runtime.handle(*(proposal(f"r{n}", 2_000 + n, "late") for n in range(1, count)))
    for number in range(1, count):
        assert len(runtime.outcomes_of(f"r{number}")) == 1
        assert isinstance(read_row(runtime.outcomes.rows[f"r{number}"]), Decided)
