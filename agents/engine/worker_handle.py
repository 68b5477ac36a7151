"""Handle of one worker process in the pool: assigns jobs, receives answers, detects its end.

Enforces deadlines and the heartbeat by killing the process; every assigned job's future is
completed, also when the process is lost.
"""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from agents.engine.fork_client import ForkServer
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.engine.protocol import (
    FRAME_BYTES_MAX,
    Assignment,
    JobFailed,
    JobFinished,
    Ping,
    Pong,
    ProcessReady,
    ProtocolError,
    frame,
    read_message,
)

MISSED_BEATS_MAX = 4
"""Intervals without a message that make a timeout. Several short ones and not a single long one:
after a stall of this program itself, an answer may be in the socket that it has not read yet."""

_log = logging.getLogger(__name__)

ResultFuture = asyncio.Future[EngineResult]

OnAnswer = Callable[["WorkerHandle", JobFinished | JobFailed], None]
"""Called with each answer of a process, after the job's future is completed."""


class ProcessLostError(Exception):
    """The process ended with the job in flight; the job is not known to be the cause."""


class WorkerHandle:
    """One process that is ready for jobs. Created by `start_worker` of the supervisor.

    Attributes:
        ready: the process's handshake message.
        killed: whether the process was killed after a job's deadline or a heartbeat timeout.
        closing: whether `close` was called.
        assigned: jobs assigned so far.
    """

    def __init__(
        self,
        ready: ProcessReady,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        fork_server: ForkServer,
        *,
        threads: int,
        grace_seconds: float,
        hang_seconds: float,
    ) -> None:
        self.ready = ready
        self.killed = False
        self.closing = False
        self.assigned = 0
        self._reader, self._writer = streams
        self._fork_server = fork_server
        self._threads = threads
        self._grace_seconds = grace_seconds
        self._in_flight: dict[int, tuple[ResultFuture, asyncio.TimerHandle]] = {}
        self._receiver: asyncio.Task[None] | None = None
        self._heartbeat = ProcessHeartbeat(
            hang_seconds,
            is_busy=lambda: self.jobs > 0,
            send_ping=lambda: self._writer.write(frame(Ping())),
            on_timeout=self._kill,
        )

    @property
    def jobs(self) -> int:
        """Jobs in flight; those whose caller was cancelled count until they are done."""
        return len(self._in_flight)

    @property
    def free_slots(self) -> int:
        """Jobs that the process can take now."""
        return 0 if self.killed or self.closing else self._threads - self.jobs

    def listen(self, on_answer: OnAnswer, on_end: Callable[["WorkerHandle"], None]) -> None:
        """Start to receive; `on_answer` is called per answer, `on_end` once when it has ended."""
        self._receiver = asyncio.create_task(self._receive(on_answer, on_end))
        self._heartbeat.start()

    def assign(self, job: EngineJob, expires: float, answer: ResultFuture) -> None:
        """Assign a job.

        Args:
            job: the extraction to run.
            expires: deadline, in the loop's time.
            answer: completed with the result, `EngineError`, or `ProcessLostError`.
        """
        loop = asyncio.get_running_loop()
        number, seconds = self.assigned + 1, max(0.0, expires - loop.time())
        message = frame(Assignment(number=number, job=job, seconds=seconds))
        if len(message) > FRAME_BYTES_MAX:
            # The process would reject the frame as a `ProtocolError`, and end.
            answer.set_exception(_too_large(len(message)))
            return
        self.assigned = number
        timer = loop.call_at(expires + self._grace_seconds, self._expire, number)
        self._in_flight[number] = answer, timer
        self._writer.write(message)

    async def close(self) -> None:
        """End the process; jobs in flight fail with `ProcessLostError`."""
        self.closing = True
        self._fork_server.kill(self.ready.pid)
        self._writer.close()
        if self._receiver is not None:
            # Not awaited directly: cancelling `close` would cancel it, and leave jobs unresolved.
            await asyncio.wait([self._receiver])

    async def _receive(self, on_answer: OnAnswer, on_end: Callable[["WorkerHandle"], None]) -> None:
        try:
            while True:
                message = await read_message(self._reader)
                self._heartbeat.reset()
                if not isinstance(message, Pong):
                    on_answer(self, self._resolve(message))
        except (EOFError, OSError, ProtocolError) as error:
            _log.debug("engine process %d ended: %r", self.ready.pid, error)
        finally:
            self._heartbeat.stop()
            self._fork_server.kill(self.ready.pid)
            self._writer.close()
            self._fail_all()
            on_end(self)

    def _resolve(self, message: ProcessReady | JobFinished | JobFailed) -> JobFinished | JobFailed:
        if isinstance(message, ProcessReady) or message.number not in self._in_flight:
            raise ProtocolError("an answer without a job")
        answer, timer = self._in_flight.pop(message.number)
        timer.cancel()
        if answer.done():
            return message
        if isinstance(message, JobFailed):
            answer.set_exception(EngineError(message.failure))
        else:
            answer.set_result(self._result(message))
        return message

    def _result(self, message: JobFinished) -> EngineResult:
        raw = msgspec.Raw(message.raw)
        return EngineResult(raw=raw, cookies=message.cookies, versions=self.ready.versions)

    def _expire(self, number: int) -> None:
        answer, _ = self._in_flight.pop(number)
        if not answer.done():
            answer.set_exception(timeout_error("its process had to be killed"))
        self._kill()

    def _kill(self) -> None:
        self.killed = True
        self._fork_server.kill(self.ready.pid)

    def _fail_all(self) -> None:
        lost, self._in_flight = self._in_flight, {}
        for answer, timer in lost.values():
            timer.cancel()
            if not answer.done():
                answer.set_exception(ProcessLostError("the engine process ended"))


def _too_large(size: int) -> EngineError:
    message = f"a job of {size} bytes; the maximum is {FRAME_BYTES_MAX}"
    return EngineError(EngineFailure(types=("JobTooLarge",), message=message))


def timeout_error(detail: str) -> EngineError:
    """Return the ``EngineTimeout`` of a job."""
    message = f"the extraction exceeded its deadline; {detail}"
    return EngineError(EngineFailure(types=("EngineTimeout",), message=message))


class ProcessHeartbeat:
    """Pings a busy process, and reports when it does not answer, long before its deadlines.

    Args:
        seconds: timeout, and up to a quarter more.
        is_busy: an idle process is not pinged.
        send_ping: called at most once per interval.
        on_timeout: called once; ends the heartbeat.
    """

    def __init__(
        self,
        seconds: float,
        *,
        is_busy: Callable[[], bool],
        send_ping: Callable[[], None],
        on_timeout: Callable[[], None],
    ) -> None:
        self._interval = seconds / MISSED_BEATS_MAX
        self._is_busy = is_busy
        self._send_ping = send_ping
        self._on_timeout = on_timeout
        self._missed = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Schedule the next beat; needs a running event loop."""
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._beat)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def reset(self) -> None:
        """Restart the timeout: the process sent a message of any kind."""
        self._missed = 0

    def _beat(self) -> None:
        if self._missed == MISSED_BEATS_MAX:
            self._on_timeout()
            return
        if self._missed or self._is_busy():
            if not self._missed:
                self._send_ping()
            self._missed += 1
        self.start()
