"""Supervisor of the engine's worker processes: starts, recycles and replaces them.

Used by `agents.engine.pool`, on one event loop.
"""

import asyncio
import itertools
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from agents.engine.fork_client import ForkServer, engine_environment
from agents.engine.interface import EngineJob, EngineStats, PoolSettings
from agents.engine.javascript_support import DISABLED
from agents.engine.packages import check_packages
from agents.engine.protocol import (
    FromProcess,
    JobFailed,
    JobFinished,
    ProcessReady,
    ProtocolError,
    Setup,
    frame,
    read_message,
)
from agents.engine.worker_handle import ResultFuture, WorkerHandle
from schemas.video import EngineVersions

START_BACKOFF_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Backoff between failed starts; the last value repeats."""

_log = logging.getLogger(__name__)


class EngineStartError(Exception):
    """An engine process did not become ready; the reason is on its standard error."""


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


async def start_worker(
    fork_server: ForkServer,
    setup: Setup,
    *,
    grace_seconds: float,
    hang_seconds: float,
    timeout_seconds: float,
) -> WorkerHandle:
    """Fork a process and wait until it is ready.

    Raises:
        EngineStartError: the process was not ready in time, or ended before.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            fork_server.fork(theirs)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
    except BaseException as error:
        ours.close()
        if isinstance(error, OSError):
            raise EngineStartError(f"cannot fork an engine process: {error}") from error
        raise
    ready = await _handshake(reader, writer, setup, timeout_seconds)
    return WorkerHandle(
        ready,
        (reader, writer),
        fork_server,
        threads=setup.threads,
        grace_seconds=grace_seconds,
        hang_seconds=hang_seconds,
    )


async def _handshake(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, setup: Setup, seconds: float
) -> ProcessReady:
    try:
        writer.write(frame(setup))
        return _as_ready(await asyncio.wait_for(read_message(reader), seconds))
    except BaseException as error:
        writer.close()
        if isinstance(error, EOFError | OSError | ProtocolError):
            raise EngineStartError(f"an engine process did not start: {error!r}") from error
        raise


def _as_ready(message: FromProcess) -> ProcessReady:
    if not isinstance(message, ProcessReady):
        raise ProtocolError("the first frame must be a ProcessReady")
    return message


class Counters:
    """The counters behind `EngineStats`."""

    def __init__(self) -> None:
        self.kills = 0
        self.crashes = 0
        self.recycled = 0
        self.restarts = 0
        self.start_failures = 0
        self.versions: EngineVersions | None = None
        self.impersonation = False
        self.native_proof_of_work = False
        self.javascript = DISABLED

    def snapshot(self, **gauges: Any) -> EngineStats:
        """Return the counters together with the current gauges."""
        return EngineStats(**vars(self), **gauges)
