"""The pool's side of one worker process: hands over jobs, takes answers, notices its end."""

import asyncio
import logging
import socket
from collections.abc import Callable

import msgspec

from agents.engine.forking import ForkServer
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.engine.protocol import (
    Assignment,
    Failed,
    Finished,
    FromProcess,
    ProtocolError,
    Ready,
    Setup,
    frame,
    read_message,
)

_log = logging.getLogger(__name__)

Answer = asyncio.Future[EngineResult]


class EngineStartError(Exception):
    """An engine process did not become ready. Its standard error says why."""


class ProcessLostError(Exception):
    """The process ended while a job was under way in it, through no known fault of the job."""


class Worker:
    """One process that is ready for jobs. Make it with `start_worker`.

    Attributes:
        ready: what the process said about itself.
        overdue: whether it was killed because a job overstayed its deadline.
        closing: whether its end is wanted.
        taken: jobs handed over so far.
    """

    def __init__(
        self,
        ready: Ready,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        forks: ForkServer,
        *,
        threads: int,
        grace_seconds: float,
    ) -> None:
        self.ready = ready
        self.overdue = False
        self.closing = False
        self.taken = 0
        self._reader, self._writer = streams
        self._forks = forks
        self._threads = threads
        self._grace_seconds = grace_seconds
        self._under_way: dict[int, tuple[Answer, asyncio.TimerHandle]] = {}
        self._listening: asyncio.Task[None] | None = None

    @property
    def jobs(self) -> int:
        """Jobs under way; those whose caller went away count until they are done."""
        return len(self._under_way)

    @property
    def free(self) -> int:
        """Jobs that it could take now."""
        return 0 if self.overdue or self.closing else self._threads - self.jobs

    def listen(
        self, on_answer: Callable[["Worker"], None], on_end: Callable[["Worker"], None]
    ) -> None:
        """Start to take answers; tell about each one, and once about the end of the process."""
        self._listening = asyncio.create_task(self._listen(on_answer, on_end))

    def assign(self, job: EngineJob, expires: float, answer: Answer) -> None:
        """Hand over a job.

        Args:
            job: what to extract.
            expires: the loop's time at which it has to be done.
            answer: gets the result, `EngineError`, or `ProcessLostError`.
        """
        self.taken += 1
        number = self.taken
        loop = asyncio.get_running_loop()
        timer = loop.call_at(expires + self._grace_seconds, self._kill_overdue, number)
        self._under_way[number] = answer, timer
        seconds = max(0.0, expires - loop.time())
        self._writer.write(frame(Assignment(number=number, job=job, seconds=seconds)))

    async def close(self) -> None:
        """End the process; jobs under way get `ProcessLostError`."""
        self.closing = True
        self._forks.kill(self.ready.pid)
        self._writer.close()
        if self._listening is not None:
            # Not awaited itself: a cancelled close would cancel it, and nobody tell its jobs.
            await asyncio.wait([self._listening])

    async def _listen(
        self, on_answer: Callable[["Worker"], None], on_end: Callable[["Worker"], None]
    ) -> None:
        try:
            while True:
                self._take(await read_message(self._reader))
                on_answer(self)
        except (EOFError, OSError, ProtocolError) as error:
            _log.debug("engine process %d ended: %r", self.ready.pid, error)
        finally:
            self._forks.kill(self.ready.pid)
            self._writer.close()
            self._lose_all()
            on_end(self)

    def _take(self, message: FromProcess) -> None:
        if isinstance(message, Ready) or message.number not in self._under_way:
            raise ProtocolError("an answer without a job")
        answer, timer = self._under_way.pop(message.number)
        timer.cancel()
        if answer.done():
            return
        if isinstance(message, Failed):
            answer.set_exception(EngineError(message.failure))
        else:
            answer.set_result(self._result(message))

    def _result(self, message: Finished) -> EngineResult:
        raw = msgspec.Raw(message.raw)
        return EngineResult(raw=raw, cookies=message.cookies, versions=self.ready.versions)

    def _kill_overdue(self, number: int) -> None:
        answer, _ = self._under_way.pop(number)
        if not answer.done():
            answer.set_exception(timed_out("its process had to be killed"))
        self.overdue = True
        self._forks.kill(self.ready.pid)

    def _lose_all(self) -> None:
        lost, self._under_way = self._under_way, {}
        for answer, timer in lost.values():
            timer.cancel()
            if not answer.done():
                answer.set_exception(ProcessLostError("the engine process ended"))


def timed_out(detail: str) -> EngineError:
    """Return the failure of a job whose deadline passed."""
    message = f"the extraction was not done before its deadline; {detail}"
    return EngineError(EngineFailure(types=("EngineTimeout",), message=message))


async def start_worker(
    forks: ForkServer, setup: Setup, *, grace_seconds: float, timeout_seconds: float
) -> Worker:
    """Fork a process and wait until it is ready.

    Raises:
        EngineStartError: it was not ready in time, or ended before it was.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            forks.fork(theirs)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
    except BaseException as error:
        ours.close()
        if isinstance(error, OSError):
            raise EngineStartError(f"cannot fork an engine process: {error}") from error
        raise
    ready = await _introduced(reader, writer, setup, timeout_seconds)
    return Worker(
        ready, (reader, writer), forks, threads=setup.threads, grace_seconds=grace_seconds
    )


async def _introduced(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, setup: Setup, seconds: float
) -> Ready:
    try:
        writer.write(frame(setup))
        return _as_ready(await asyncio.wait_for(read_message(reader), seconds))
    except BaseException as error:
        writer.close()
        if isinstance(error, EOFError | OSError | ProtocolError):
            raise EngineStartError(f"an engine process did not start: {error!r}") from error
        raise


def _as_ready(message: FromProcess) -> Ready:
    if not isinstance(message, Ready):
        raise ProtocolError("the first frame must be a Ready")
    return message
