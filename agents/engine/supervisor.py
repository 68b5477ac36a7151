"""Keeps the wanted number of worker processes, whatever happens to them."""

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
from agents.engine.protocol import Failed, Finished, Setup
from agents.engine.settings import EngineSettings
from agents.engine.starting import EngineStartError, start_worker
from agents.engine.stats import Counters, EngineStats
from agents.engine.worker_handle import Answer, Worker

START_DELAYS_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Waits between failed starts; the last one is repeated."""

_log = logging.getLogger(__name__)


class WorkerSupervisor:
    """The worker processes of a pool.

    Args:
        settings: how many, and for how many jobs each.
        setup: what each process is told.
        on_free: called when a process can take another job.
        on_challenge: called with the seconds that a challenge took.
    """

    def __init__(
        self,
        settings: EngineSettings,
        setup: Setup,
        on_free: Callable[[], None],
        on_challenge: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._setup = setup
        self._on_free = on_free
        self._on_challenge = on_challenge
        self._forks = ForkServer(settings.preload, settings.packages_dir)
        self._workers: list[Worker] = []
        self._others: set[Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._tally = Counters()

    async def start(self) -> None:
        """Start all processes.

        Raises:
            ClipmillError: ``system.config``; the packages that are set cannot be used.
            EngineStartError: one of them did not become ready.
        """
        packages_dir = self._settings.packages_dir
        if packages_dir is not None:
            await check_packages(packages_dir, engine_environment(packages_dir))
        starts = (self._add() for _ in range(self._settings.processes))
        # All are waited for, so that none is started behind the back of a close.
        for outcome in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def close(self) -> None:
        """End all processes."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._forks.close()
        everyone = [*self._workers, *self._others]
        await asyncio.gather(*(worker.close() for worker in everyone))

    def hand_over(self, job: EngineJob, expires: float, answer: Answer) -> bool:
        """Give the job to the process with the fewest; return whether one was free."""
        worker = max(self._workers, key=lambda worker: worker.free, default=None)
        if worker is None or worker.free <= 0:
            return False
        worker.assign(job, expires, answer)
        if worker.taken >= self._settings.jobs_per_process_max:
            self._retire(worker)
        return True

    @asynccontextmanager
    async def alone(self, seconds: float) -> AsyncIterator[Worker]:
        """Return a process of one's own, which ends with the block.

        Raises:
            EngineStartError: it was not ready within the time.
        """
        worker = await self._start(msgspec.structs.replace(self._setup, threads=1), seconds)
        self._others.add(worker)
        worker.listen(lambda _, answer: self._count_challenges(answer), self._count_end)
        try:
            yield worker
        finally:
            await worker.close()

    def stats(self, *, jobs_waiting: int) -> EngineStats:
        """Return the state of this moment."""
        everyone = [*self._workers, *self._others]
        return self._tally.snapshot(
            processes_wanted=self._settings.processes,
            processes_alive=len(self._workers),
            pids=tuple(worker.ready.pid for worker in everyone),
            fork_server_pid=self._forks.pid,
            jobs_in_flight=sum(worker.jobs for worker in everyone),
            jobs_waiting=jobs_waiting,
        )

    async def _add(self) -> None:
        worker = await self._start(self._setup, self._settings.start_timeout_seconds)
        self._workers.append(worker)
        worker.listen(self._answered, self._ended)
        self._on_free()

    async def _start(self, setup: Setup, seconds: float) -> Worker:
        try:
            worker = await start_worker(
                self._forks,
                setup,
                grace_seconds=self._settings.kill_grace_seconds,
                hang_seconds=self._settings.hang_seconds,
                timeout_seconds=seconds,
            )
        except EngineStartError:
            self._tally.start_failures += 1
            raise
        self._tally.versions = worker.ready.versions
        self._tally.impersonation = worker.ready.impersonation
        self._tally.native_proof_of_work = worker.ready.native_proof_of_work
        return worker

    def _retire(self, worker: Worker) -> None:
        self._workers.remove(worker)
        self._others.add(worker)
        self._tally.recycled += 1
        self._replace()

    def _answered(self, worker: Worker, answer: Finished | Failed) -> None:
        self._count_challenges(answer)
        if worker in self._others and worker.jobs == 0:
            self._in_background(worker.close())
        self._on_free()

    def _ended(self, worker: Worker) -> None:
        self._count_end(worker)
        if worker in self._workers:
            self._workers.remove(worker)
            self._replace()

    def _count_end(self, worker: Worker) -> None:
        self._others.discard(worker)
        if worker.overdue:
            self._tally.kills += 1
        elif not worker.closing and not self._closed:
            self._tally.crashes += 1

    def _count_challenges(self, answer: Finished | Failed) -> None:
        for seconds in answer.challenge_seconds:
            self._on_challenge(seconds)

    def _replace(self) -> None:
        if not self._closed:
            self._tally.restarts += 1
            self._in_background(self._add_at_last())

    async def _add_at_last(self) -> None:
        last = START_DELAYS_SECONDS[-1]
        for delay in itertools.chain(START_DELAYS_SECONDS, itertools.repeat(last)):
            try:
                await self._add()
            except EngineStartError as error:
                _log.warning("%s; trying again in %s s", error, delay)
                await asyncio.sleep(delay)
            else:
                return

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
