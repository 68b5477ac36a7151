"""The pool's side of one worker process: hands over jobs, takes answers, notices its end."""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from agents.engine.fork_client import ForkServer
from agents.engine.heartbeat import Heartbeat
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.engine.protocol import (
    FRAME_BYTES_MAX,
    Assignment,
    Failed,
    Finished,
    Ping,
    Pong,
    ProtocolError,
    Ready,
    frame,
    read_message,
)

_log = logging.getLogger(__name__)

Answer = asyncio.Future[EngineResult]

OnAnswer = Callable[["Worker", Finished | Failed], None]
"""Called with each answer of a process, after its job got it."""


class ProcessLostError(Exception):
    """The process ended while a job was under way in it, through no known fault of the job."""


class Worker:
    """One process that is ready for jobs. Made by `agents.engine.starting`.

    Attributes:
        ready: what the process said about itself.
        overdue: whether it was killed because a job overstayed its deadline, or because it
            answered no more.
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
        hang_seconds: float,
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
        self._heartbeat = Heartbeat(
            hang_seconds,
            is_busy=lambda: self.jobs > 0,
            ask=lambda: self._writer.write(frame(Ping())),
            on_silence=self._kill_overdue,
        )

    @property
    def jobs(self) -> int:
        """Jobs under way; those whose caller went away count until they are done."""
        return len(self._under_way)

    @property
    def free(self) -> int:
        """Jobs that it could take now."""
        return 0 if self.overdue or self.closing else self._threads - self.jobs

    def listen(self, on_answer: OnAnswer, on_end: Callable[["Worker"], None]) -> None:
        """Start to take answers; tell about each one, and once about the end of the process."""
        self._listening = asyncio.create_task(self._listen(on_answer, on_end))
        self._heartbeat.start()

    def assign(self, job: EngineJob, expires: float, answer: Answer) -> None:
        """Hand over a job.

        Args:
            job: what to extract.
            expires: the loop's time at which it has to be done.
            answer: gets the result, `EngineError`, or `ProcessLostError`.
        """
        loop = asyncio.get_running_loop()
        number, seconds = self.taken + 1, max(0.0, expires - loop.time())
        message = frame(Assignment(number=number, job=job, seconds=seconds))
        if len(message) > FRAME_BYTES_MAX:
            # The process would take it for a broken pool, and end.
            answer.set_exception(_too_large(len(message)))
            return
        self.taken = number
        timer = loop.call_at(expires + self._grace_seconds, self._give_up, number)
        self._under_way[number] = answer, timer
        self._writer.write(message)

    async def close(self) -> None:
        """End the process; jobs under way get `ProcessLostError`."""
        self.closing = True
        self._forks.kill(self.ready.pid)
        self._writer.close()
        if self._listening is not None:
            # Not awaited itself: a cancelled close would cancel it, and nobody tell its jobs.
            await asyncio.wait([self._listening])

    async def _listen(self, on_answer: OnAnswer, on_end: Callable[["Worker"], None]) -> None:
        try:
            while True:
                message = await read_message(self._reader)
                self._heartbeat.heard()
                if not isinstance(message, Pong):
                    on_answer(self, self._take(message))
        except (EOFError, OSError, ProtocolError) as error:
            _log.debug("engine process %d ended: %r", self.ready.pid, error)
        finally:
            self._heartbeat.stop()
            self._forks.kill(self.ready.pid)
            self._writer.close()
            self._lose_all()
            on_end(self)

    def _take(self, message: Ready | Finished | Failed) -> Finished | Failed:
        if isinstance(message, Ready) or message.number not in self._under_way:
            raise ProtocolError("an answer without a job")
        answer, timer = self._under_way.pop(message.number)
        timer.cancel()
        if answer.done():
            return message
        if isinstance(message, Failed):
            answer.set_exception(EngineError(message.failure))
        else:
            answer.set_result(self._result(message))
        return message

    def _result(self, message: Finished) -> EngineResult:
        raw = msgspec.Raw(message.raw)
        return EngineResult(raw=raw, cookies=message.cookies, versions=self.ready.versions)

    def _give_up(self, number: int) -> None:
        answer, _ = self._under_way.pop(number)
        if not answer.done():
            answer.set_exception(timed_out("its process had to be killed"))
        self._kill_overdue()

    def _kill_overdue(self) -> None:
        self.overdue = True
        self._forks.kill(self.ready.pid)

    def _lose_all(self) -> None:
        lost, self._under_way = self._under_way, {}
        for answer, timer in lost.values():
            timer.cancel()
            if not answer.done():
                answer.set_exception(ProcessLostError("the engine process ended"))


def _too_large(size: int) -> EngineError:
    message = f"a job of {size} bytes; {FRAME_BYTES_MAX} is the most"
    return EngineError(EngineFailure(types=("JobTooLarge",), message=message))


def timed_out(detail: str) -> EngineError:
    """Return the failure of a job whose deadline passed."""
    message = f"the extraction was not done before its deadline; {detail}"
    return EngineError(EngineFailure(types=("EngineTimeout",), message=message))
