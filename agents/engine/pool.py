"""The engine: warm worker processes around yt-dlp's extractors, each of which may be killed."""

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
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.engine.protocol import Setup
from agents.engine.settings import EngineSettings
from agents.engine.starting import EngineStartError
from agents.engine.stats import EngineStats
from agents.engine.supervisor import WorkerSupervisor
from agents.engine.worker_handle import Answer, ProcessLostError, timed_out
from agents.network.egress import Egress
from schemas.errors import ClipmillError, ErrorCode

ATTEMPTS = 2
"""The first in company, the second alone in a process of its own: then nobody else is to blame."""

QUARANTINE_PROCESSES = 8
"""Processes with a single job each, at a time. A lost process leaves up to as many jobs as it had
threads, and each of them costs 35 ms of a core and some 10 MB."""


@dataclass(slots=True)
class _Ticket:
    job: EngineJob
    expires: float
    answer: Answer
    started: bool = False


class EnginePool:
    """Runs extractions in worker processes. Use it as an async context manager.

    A job whose process is lost is tried once more, in a process of its own: so a job that kills
    its process, or takes its memory, takes others along at most once, and none of them fails for
    it.

    Args:
        settings: how many processes, and their bounds.
        egresses: the ways out that jobs may name; all trust the same roots.
        on_challenge: called with the seconds that each challenge of a page took to be solved,
            or to be given up.

    Raises:
        ClipmillError: ``system.config``; additional roots without their bundle, or on entering:
            ``packages_dir`` cannot be used.
        EngineStartError: on entering: a process did not become ready.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *egresses: Egress,
        on_challenge: Callable[[float], None] = lambda _: None,
    ) -> None:
        setup = _setup(settings, egresses)
        self._crew = WorkerSupervisor(settings, setup, self._dispatch, on_challenge)
        self._start_seconds = settings.start_timeout_seconds
        self._quarantine = asyncio.Semaphore(QUARANTINE_PROCESSES)
        self._waiting: deque[_Ticket] = deque()
        self._running = False

    async def __aenter__(self) -> Self:
        self._running = True
        try:
            await self._crew.start()
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
        """Return the state of the engine at this moment."""
        waiting = sum(not ticket.answer.done() for ticket in self._waiting)
        return self._crew.stats(jobs_waiting=waiting)

    async def extract(self, job: EngineJob) -> EngineResult:
        """Return what the extractor found. ``deadline_seconds`` counts from here.

        Raises:
            EngineError: the extractor's failure, or one of ours, with ``types`` of
                ``EngineTimeout`` (not done in time), ``EngineCrash`` (its process was lost
                `ATTEMPTS` times, at last alone), ``EngineClosed`` (the pool is not running) or
                ``JobTooLarge`` (with its cookies it is more than a process is told at a time).
        """
        loop = asyncio.get_running_loop()
        expires = loop.time() + job.deadline_seconds
        for attempt in range(ATTEMPTS):
            if not self._running:
                raise _failure("EngineClosed", "the engine is not running")
            with contextlib.suppress(ProcessLostError, EngineStartError):
                run = self._in_quarantine if attempt else self._in_company
                return await run(_Ticket(job, expires, loop.create_future()))
        raise _failure("EngineCrash", f"its engine process was lost {ATTEMPTS} times")

    async def _in_company(self, ticket: _Ticket) -> EngineResult:
        self._waiting.append(ticket)
        self._dispatch()
        with _expiry(ticket):
            try:
                return await ticket.answer
            except EngineError as error:
                if is_out_of_memory(error.failure):
                    raise ProcessLostError("the engine process ran out of memory") from error
                raise

    async def _in_quarantine(self, ticket: _Ticket) -> EngineResult:
        async with self._place(ticket.expires):
            left = ticket.expires - asyncio.get_running_loop().time()
            if left <= 0:
                raise timed_out("its process was lost")
            async with self._crew.alone(min(left, self._start_seconds)) as worker:
                worker.assign(ticket.job, ticket.expires, ticket.answer)
                return await ticket.answer

    @contextlib.asynccontextmanager
    async def _place(self, expires: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(expires):
                await self._quarantine.acquire()
        except TimeoutError:
            raise timed_out("no process was free") from None
        try:
            yield
        finally:
            self._quarantine.release()

    def _dispatch(self) -> None:
        while self._waiting:
            ticket = self._waiting[0]
            if not ticket.answer.done():
                if not self._crew.hand_over(ticket.job, ticket.expires, ticket.answer):
                    return
                ticket.started = True
            self._waiting.popleft()

    async def _close(self) -> None:
        self._running = False
        await self._crew.close()
        for ticket in self._waiting:
            if not ticket.answer.done():
                ticket.answer.set_exception(ProcessLostError("the engine was closed"))
        self._waiting.clear()


@contextlib.contextmanager
def _expiry(ticket: _Ticket) -> Iterator[None]:
    timer = asyncio.get_running_loop().call_at(ticket.expires, _give_up, ticket)
    try:
        yield
    finally:
        timer.cancel()


def _give_up(ticket: _Ticket) -> None:
    if not ticket.started and not ticket.answer.done():
        ticket.answer.set_exception(timed_out("no process was free"))


def _failure(kind: str, message: str) -> EngineError:
    return EngineError(EngineFailure(types=(kind,), message=message))


def _setup(settings: EngineSettings, egresses: Sequence[Egress]) -> Setup:
    return Setup(
        threads=settings.threads_per_process,
        page_bytes_max=settings.page_bytes_max,
        request_timeout_seconds=settings.request_timeout_seconds,
        memory_bytes_max=settings.memory_bytes_max,
        proxies={egress.name: egress.proxy for egress in egresses},
        ca_file=str(_roots(egresses) or certifi.where()),
    )


def _roots(egresses: Sequence[Egress]) -> Path | None:
    for egress in egresses:
        if egress.ca_file is not None and egress.ca_bundle is None:
            raise ClipmillError(
                ErrorCode.SYSTEM_CONFIG,
                f"the engine cannot trust the roots in {egress.ca_file} without a bundle;"
                " write one with agents.network.trust.write_ca_bundle",
            )
    return next((egress.ca_bundle for egress in egresses if egress.ca_bundle), None)
