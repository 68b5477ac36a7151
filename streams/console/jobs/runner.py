"""Runs the jobs: reads a chunk of requests, publishes their commands, stores the cursor.

At-least-once: a process that is killed in between publishes the last chunk again; the same ids
make it idempotent. Jobs run one after the other, in the order of their creation.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from streams.client import RequestProducer
from streams.cluster.connection import ClusterUnavailableError
from streams.console.commands import publish_commands
from streams.console.errors import BrokerTimeoutError
from streams.console.jobs.job import BulkJob, ChunkResult
from streams.console.jobs.selection import select
from streams.console.jobs.store import JobStore, JobStoreError
from streams.errors import OperatorError
from streams.history.rows import Cursor, RequestRow
from streams.history.store import HistoryStore

log = logging.getLogger(__name__)

CHUNK_REQUESTS = 100
"""Requests of one chunk, and at most as many commands."""

POLL_SECONDS = 0.5
"""Poll interval for jobs, and backoff before a chunk is published again."""


class HistoryReplacedError(OperatorError):
    """The cursor of a job is of another history."""


class BulkJobRunner:
    """Runs the jobs of a store.

    Args:
        clock: epoch seconds.
    """

    def __init__(
        self,
        jobs: JobStore,
        history: HistoryStore,
        producer: RequestProducer,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jobs = jobs
        self._history = history
        self._producer = producer
        self._clock = clock

    async def run(self) -> None:
        """Run jobs until cancelled, while no other process does."""
        while not self._jobs.runner_lock.try_acquire():  # noqa: ASYNC110  (of another process)
            await asyncio.sleep(POLL_SECONDS)
        try:
            while True:
                try:
                    can_continue = await self.run_chunk()
                except JobStoreError as error:
                    log.warning("%s", error)
                    can_continue = False
                if not can_continue:
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            self._jobs.runner_lock.release()

    async def run_chunk(self) -> bool:
        """Run one chunk of the first job; return whether another one can follow at once."""
        job = await asyncio.to_thread(self._jobs.first_running)
        if job is None:
            return False
        job = await self._after_chunk(job)
        await asyncio.to_thread(self._jobs.update, job)
        return job.error is None

    async def _after_chunk(self, job: BulkJob) -> BulkJob:
        try:
            progress = await self._publish_chunk(job)
        except (BrokerTimeoutError, ClusterUnavailableError) as error:
            return job.waiting(str(error), self._clock())
        except OperatorError as error:
            return job.ended("failed", self._clock(), str(error))
        except Exception as error:  # the console goes on
            log.exception("job %s has failed", job.id)
            return job.ended("failed", self._clock(), repr(error))
        return job.after(progress, self._clock())

    async def _publish_chunk(self, job: BulkJob) -> ChunkResult:
        rows = await asyncio.to_thread(self._read_chunk, job)
        commands, skipped = select(job, rows)
        if commands:
            await publish_commands(self._producer, commands)
        is_last = len(rows) < CHUNK_REQUESTS
        cursor = None if is_last else Cursor(rows[-1].received_at, rows[-1].id)
        return ChunkResult(len(commands), skipped, cursor)

    def _read_chunk(self, job: BulkJob) -> list[RequestRow]:
        if self._history.origin() != job.origin:
            raise HistoryReplacedError(
                "the history was emptied since, because the topics are others; create a new job"
            )
        return self._history.requests(job.wanted, CHUNK_REQUESTS, job.cursor)
