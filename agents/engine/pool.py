"""Extraction engine: a pool of warm worker processes for yt-dlp's extractors.

Queues jobs, enforces their deadlines, and retries the jobs of a lost process in quarantine. Any
worker may be killed at any time; knows neither Kafka nor platforms.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import certifi

from agents.engine.failures import is_out_of_memory
from agents.engine.interface import (
    EngineError,
    EngineFailure,
    EngineJob,
    EngineResult,
    EngineStats,
    PoolSettings,
)
from agents.engine.protocol import Setup
from agents.engine.supervisor import EngineStartError, WorkerSupervisor
from agents.engine.worker_handle import ProcessLostError, ResultFuture, timeout_error
from agents.network.egress import Egress
from schemas.errors import ClipmillError, ErrorCode

ATTEMPTS = 2
"""The first in a shared process, the second isolated: a crash then is the fault of the job."""

QUARANTINE_PROCESSES = 8
"""Concurrent single-job processes. A lost process leaves as many jobs as it had threads, and each
retry costs 35 ms of a core and some 10 MB."""


@dataclass(slots=True)
class _QueuedJob:
    job: EngineJob
    expires: float
    answer: ResultFuture
    started: bool = False


class EnginePool:
    """Runs extractions in worker processes. Use it as an async context manager.

    Quarantine: a job whose process is lost is retried once in a single-job process. So a job that
    crashes its process, or exhausts its memory, is identified, and the jobs beside it succeed.

    Args:
        settings: number of processes, and their limits.
        egresses: egresses that jobs may name; all trust the same CA roots.
        on_challenge: called with the seconds spent on each proof-of-work challenge, solved or not.

    Raises:
        ClipmillError: ``system.config``; additional roots without their bundle, or on entering:
            ``packages_dir`` cannot be used.
        EngineStartError: on entering: a process did not become ready.
    """

    def __init__(
        self,
        settings: PoolSettings,
        *egresses: Egress,
        on_challenge: Callable[[float], None] = lambda _: None,
    ) -> None:
        setup = _setup(settings, egresses)
        self._supervisor = WorkerSupervisor(settings, setup, self._dispatch, on_challenge)
        self._start_seconds = settings.start_timeout_seconds
        self._quarantine = asyncio.Semaphore(QUARANTINE_PROCESSES)
        self._queue: deque[_QueuedJob] = deque()
        self._running = False

    async def __aenter__(self) -> Self:
        self._running = True
        try:
            await self._supervisor.start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    def stats(self) -> EngineStats:
        """Return counters and current state."""
        waiting = sum(not queued.answer.done() for queued in self._queue)
        return self._supervisor.stats(jobs_waiting=waiting)

    async def extract(self, job: EngineJob) -> EngineResult:
        """Run a job; ``deadline_seconds`` starts now, and includes the time in the queue.

        Raises:
            EngineError: the extractor's failure, or one of the pool, with ``types`` of
                ``EngineTimeout`` (deadline exceeded), ``EngineCrash`` (its process was lost
                `ATTEMPTS` times, the last one isolated), ``EngineClosed`` (the pool is not
                running) or ``JobTooLarge`` (with its cookies it exceeds a frame).
        """
        loop = asyncio.get_running_loop()
        expires = loop.time() + job.deadline_seconds
        for attempt in range(ATTEMPTS):
            if not self._running:
                raise _failure("EngineClosed", "the engine is not running")
            with contextlib.suppress(ProcessLostError, EngineStartError):
                run = self._run_isolated if attempt else self._run_shared
                return await run(_QueuedJob(job, expires, loop.create_future()))
        raise _failure("EngineCrash", f"its engine process was lost {ATTEMPTS} times")

    async def _run_shared(self, queued: _QueuedJob) -> EngineResult:
        self._queue.append(queued)
        self._dispatch()
        with _queue_timeout(queued):
            try:
                return await queued.answer
            except EngineError as error:
                if is_out_of_memory(error.failure):
                    raise ProcessLostError("the engine process ran out of memory") from error
                raise

    async def _run_isolated(self, queued: _QueuedJob) -> EngineResult:
        async with self._quarantine_slot(queued.expires):
            left = queued.expires - asyncio.get_running_loop().time()
            if left <= 0:
                raise timeout_error("its process was lost")
            async with self._supervisor.isolated(min(left, self._start_seconds)) as worker:
                worker.assign(queued.job, queued.expires, queued.answer)
                return await queued.answer

    @contextlib.asynccontextmanager
    async def _quarantine_slot(self, expires: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(expires):
                await self._quarantine.acquire()
        except TimeoutError:
            raise timeout_error("no process was free") from None
        try:
            yield
        finally:
            self._quarantine.release()

    def _dispatch(self) -> None:
        while self._queue:
            queued = self._queue[0]
            if not queued.answer.done():
                if not self._supervisor.try_assign(queued.job, queued.expires, queued.answer):
                    return
                queued.started = True
            self._queue.popleft()

    async def _close(self) -> None:
        self._running = False
        await self._supervisor.close()
        for queued in self._queue:
            if not queued.answer.done():
                queued.answer.set_exception(ProcessLostError("the engine was closed"))
        self._queue.clear()


@contextlib.contextmanager
def _queue_timeout(queued: _QueuedJob) -> Iterator[None]:
    timer = asyncio.get_running_loop().call_at(queued.expires, _expire, queued)
    try:
        yield
    finally:
        timer.cancel()


def _expire(queued: _QueuedJob) -> None:
    # Once started, the deadline is the worker's to enforce: it also kills the process.
    if not queued.started and not queued.answer.done():
        queued.answer.set_exception(timeout_error("no process was free"))


def _failure(kind: str, message: str) -> EngineError:
    return EngineError(EngineFailure(types=(kind,), message=message))


def _setup(settings: PoolSettings, egresses: Sequence[Egress]) -> Setup:
    return Setup(
        threads=settings.threads_per_process,
        page_bytes_max=settings.page_bytes_max,
        request_timeout_seconds=settings.request_timeout_seconds,
        memory_bytes_max=settings.memory_bytes_max,
        proxies={egress.name: egress.proxy for egress in egresses},
        ca_file=str(_roots(egresses) or certifi.where()),
        javascript=settings.javascript,
    )


def _roots(egresses: Sequence[Egress]) -> Path | None:
    for egress in egresses:
        if egress.ca_file is not None and egress.ca_bundle is None:
            raise ClipmillError(
                ErrorCode.SYSTEM_CONFIG,
                f"the engine cannot trust the roots in {egress.ca_file} without a bundle;"
                " write one with agents.network.egress.write_ca_bundle",
            )
    return next((egress.ca_bundle for egress in egresses if egress.ca_bundle), None)
