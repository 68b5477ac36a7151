"""Jobs over a history that a test writes; what their runner publishes is recorded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.commands import Cancel, Command, Retry
from streams.console.jobs.job import BulkJob
from streams.console.jobs.planning import JobOrder, plan_job
from streams.console.jobs.runner import BulkJobRunner
from streams.console.jobs.store import JobStore
from streams.history.changes import RequestChange
from streams.history.rows import RequestFilter
from streams.history.statements import FoldedRecord
from streams.history.store import HistoryStore
from tests.unit.streams.console.consoles import RecordingProducer

NOW = 1_000_000.0

URL = "https://www.tiktok.com/@a/video/7"


def request(name: str, at: float, state: str = "failed", **fields: Any) -> RequestChange:
    """Return a request received at a time."""
    is_final = state not in {"accepted", "extracted", "selected", "retrying", "parked"}
    given = {"url": URL, "received_at": at, "introduces": True, "is_final": is_final, **fields}
    return RequestChange(request_id=name, at=at, state=state, **given)


def failed(count: int) -> list[RequestChange]:
    """Return failed requests ``r0``, `r1`… in the order of their arrival."""
    return [request(f"r{number}", float(number + 1)) for number in range(count)]


class InterruptedProducer(RecordingProducer):
    """Is killed after some publications: they are acknowledged, and the caller never learns it."""

    def __init__(self, publications: int) -> None:
        super().__init__()
        self._left = publications

    async def send_command(self, *commands: Command) -> None:
        await super().send_command(*commands)
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt


class JobHarness:
    """A history, its jobs, and their runner."""

    def __init__(self, history: HistoryStore, jobs: JobStore) -> None:
        self.history = history
        self.jobs = jobs
        self.producer = RecordingProducer()
        self._records = 0

    def record(self, *changes: RequestChange) -> None:
        records = [FoldedRecord(0, self._records + n, each) for n, each in enumerate(changes)]
        self._records += len(records)
        self.history.apply("audit", records, {}, self.history.open_generation("cluster"))

    def create(self, command: str, wanted: RequestFilter | None = None, **order: Any) -> BulkJob:
        values = {"command": command, "wanted": wanted or RequestFilter(), "by": "ann", **order}
        job, _ = plan_job(self.history, JobOrder(**values), NOW)
        self.jobs.add(job)
        return job

    def job(self, job_id: str) -> BulkJob:
        job = self.jobs.job(job_id)
        assert job is not None
        return job

    def runner(self, producer: RecordingProducer | None = None) -> BulkJobRunner:
        return BulkJobRunner(self.jobs, self.history, producer or self.producer, clock=lambda: NOW)

    async def run(self, producer: RecordingProducer | None = None) -> None:
        """Run chunks until no job can go on."""
        runner = self.runner(producer)
        while await runner.run_chunk():
            pass

    @property
    def targets(self) -> list[str]:
        """The requests of the published commands."""
        return targets(self.producer.commands)


def targets(commands: Sequence[Command]) -> list[str]:
    return [each.request_id for each in commands if isinstance(each, Retry | Cancel)]


@contextmanager
def job_harness(directory: Path, *changes: RequestChange) -> Iterator[JobHarness]:
    """Open the stores of a directory, which may have jobs, with these requests."""
    with (
        HistoryStore(directory / "history.db") as history,
        JobStore(directory / "console.db") as jobs,
    ):
        harness = JobHarness(history, jobs)
        harness.record(*changes)
        yield harness
