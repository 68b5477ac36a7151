"""Supervisor of the engine's worker processes: starts, recycles and replaces them.

Used by `agents.engine.pool`, on one event loop.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from agents.engine.fork_client import ForkServer, engine_environment
from agents.engine.interface import EngineJob
from agents.engine.packages import check_packages
from agents.engine.protocol import JobFailed, JobFinished, Setup
from agents.engine.settings import PoolSettings
from agents.engine.starting import EngineStartError, start_worker
from agents.engine.stats import Counters, EngineStats
from agents.engine.worker_handle import ResultFuture, WorkerHandle

START_BACKOFF_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Backoff between failed starts; the last value repeats."""

_log = logging.getLogger(__name__)


class WorkerSupervisor:
    """Keeps the configured number of worker processes alive.

    Args:
        settings: number of processes, and jobs per process.
        setup: sent to each process.
        on_free: called when a process can take another job.
        on_challenge: called with the seconds spent on each challenge.
    """

    def __init__(
        self,
        settings: PoolSettings,
        setup: Setup,
        on_free: Callable[[], None],
        on_challenge: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._setup = setup
        self._on_free = on_free
        self._on_challenge = on_challenge
        self._fork_server = ForkServer(settings.preload, settings.packages_dir)
        self._workers: list[WorkerHandle] = []
        # Quarantine workers, and recycled ones that finish their jobs: both take no others.
        self._detached: set[WorkerHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._counters = Counters()

    async def start(self) -> None:
        """Start all processes.

        Raises:
            ClipmillError: ``system.config``; ``packages_dir`` cannot be used.
            EngineStartError: a process did not become ready.
        """
        packages_dir = self._settings.packages_dir
        if packages_dir is not None:
            await check_packages(packages_dir, engine_environment(packages_dir))
        starts = (self._add() for _ in range(self._settings.processes))
        # Waits for all, also after a failure, so that no start can outlive a `close`.
        for outcome in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def close(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._fork_server.close()
        workers = [*self._workers, *self._detached]
        await asyncio.gather(*(worker.close() for worker in workers))

    def try_assign(self, job: EngineJob, expires: float, answer: ResultFuture) -> bool:
        """Assign the job to the least loaded process; return whether one was free."""
        worker = max(self._workers, key=lambda worker: worker.free_slots, default=None)
        if worker is None or worker.free_slots <= 0:
            return False
        worker.assign(job, expires, answer)
        if worker.assigned >= self._settings.jobs_per_process_max:
            self._recycle(worker)
        return True

    @asynccontextmanager
    async def isolated(self, seconds: float) -> AsyncIterator[WorkerHandle]:
        """Yield a single-job process, which ends with the block.

        Args:
            seconds: timeout of its start.

        Raises:
            EngineStartError: the process was not ready in time.
        """
        worker = await self._start(msgspec.structs.replace(self._setup, threads=1), seconds)
        self._detached.add(worker)
        worker.listen(lambda _, answer: self._count_challenges(answer), self._count_end)
        try:
            yield worker
        finally:
            await worker.close()

    def stats(self, *, jobs_waiting: int) -> EngineStats:
        workers = [*self._workers, *self._detached]
        return self._counters.snapshot(
            processes_wanted=self._settings.processes,
            processes_alive=len(self._workers),
            pids=tuple(worker.ready.pid for worker in workers),
            fork_server_pid=self._fork_server.pid,
            jobs_in_flight=sum(worker.jobs for worker in workers),
            jobs_waiting=jobs_waiting,
        )

    async def _add(self) -> None:
        worker = await self._start(self._setup, self._settings.start_timeout_seconds)
        self._workers.append(worker)
        worker.listen(self._on_answer, self._on_end)
        self._on_free()

    async def _start(self, setup: Setup, seconds: float) -> WorkerHandle:
        try:
            worker = await start_worker(
                self._fork_server,
                setup,
                grace_seconds=self._settings.kill_grace_seconds,
                hang_seconds=self._settings.hang_seconds,
                timeout_seconds=seconds,
            )
        except EngineStartError:
            self._counters.start_failures += 1
            raise
        self._counters.versions = worker.ready.versions
        self._counters.impersonation = worker.ready.impersonation
        self._counters.native_proof_of_work = worker.ready.native_proof_of_work
        self._counters.javascript = worker.ready.javascript
        return worker

    def _recycle(self, worker: WorkerHandle) -> None:
        self._workers.remove(worker)
        self._detached.add(worker)
        self._counters.recycled += 1
        self._replace()

    def _on_answer(self, worker: WorkerHandle, answer: JobFinished | JobFailed) -> None:
        self._count_challenges(answer)
        if worker in self._detached and worker.jobs == 0:
            self._run_in_background(worker.close())
        self._on_free()

    def _on_end(self, worker: WorkerHandle) -> None:
        self._count_end(worker)
        if worker in self._workers:
            self._workers.remove(worker)
            self._replace()

    def _count_end(self, worker: WorkerHandle) -> None:
        self._detached.discard(worker)
        if worker.killed:
            self._counters.kills += 1
        elif not worker.closing and not self._closed:
            self._counters.crashes += 1

    def _count_challenges(self, answer: JobFinished | JobFailed) -> None:
        for seconds in answer.challenge_seconds:
            self._on_challenge(seconds)

    def _replace(self) -> None:
        if not self._closed:
            self._counters.restarts += 1
            self._run_in_background(self._add_with_backoff())

    async def _add_with_backoff(self) -> None:
        last = START_BACKOFF_SECONDS[-1]
        for delay in itertools.chain(START_BACKOFF_SECONDS, itertools.repeat(last)):
            try:
                await self._add()
            except EngineStartError as error:
                _log.warning("%s; retry in %s s", error, delay)
                await asyncio.sleep(delay)
            else:
                return

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
