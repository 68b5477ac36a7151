"""Has media read or remuxed by a process that may be killed at any moment."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import psutil

from agents.engine.fork_client import child_environment
from agents.media.facts import ANSWER_BYTES_MAX, Message, Ready, Unreadable, unpack

START_SECONDS = 20.0
"""Until the process is ready: the libraries take 0.2 s, more on a machine without a free core."""

WORKED_SHARE = 0.5
"""Of its time the process must have worked for a file to be too much for it. One that got no
processor, or was stopped, says nothing about the file."""

AWAY_SECONDS = 10.0
"""So long no process is started after one could not be: all files would wait for it in turn."""

TRIES = 2
"""So many processes may a file kill before it is called unreadable: one may have been chance.

A file that takes too long is not tried again: it would keep all others waiting for as long again.
"""


class ProcessAwayError(Exception):
    """No process can do it at present; that says nothing about the files."""


class MediaProcess:
    """One process of `agents.media.process`, started for the first task, replaced when it dies.

    Args:
        files: that a task has at most.
        seconds: for one task.
        memory_bytes: of the process.
        timer: seconds, for how long one that cannot be started is let alone.
    """

    def __init__(
        self,
        *,
        files: int,
        seconds: float,
        memory_bytes: int,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._turn = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._timer = timer
        self._away_until = 0.0

    @property
    def pid(self) -> int | None:
        """Of the process; None when there is none."""
        return self._process.pid if self._process else None

    async def run(
        self, task: bytes, sources: Sequence[Path], target: Path | None = None
    ) -> Message:
        """Return what the process answers to a task. Tasks wait for their turn.

        Args:
            task: see `agents.media.facts`.
            sources: are read.
            target: is written; what there was of it is gone. After a failure it is of no use.

        Raises:
            ProcessAwayError: no process can do it at present, or a file cannot be opened.
            OSError: the target cannot be opened.
        """
        async with self._turn:
            for _ in range(TRIES):
                answer = await self._ask(task, sources, target)
                if answer is not None:
                    return answer
        return Unreadable(reason="whoever reads it dies")

    def close(self) -> None:
        """End the process. Never blocks: one that waits for a disk dies when that answers."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            threading.Thread(target=self._process.wait, daemon=True).start()
        self._connection = self._process = None

    def _worked(self) -> float:
        """Return the processor time of the process, in seconds."""
        if self.pid is None:
            return 0.0
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    async def _ask(
        self, task: bytes, sources: Sequence[Path], target: Path | None
    ) -> Message | None:
        """Return what the process says, None when it died over these files."""
        connection = await self._ready()
        worked = self._worked()
        with ExitStack() as stack:
            descriptors = await asyncio.to_thread(_open_all, sources, target, stack)
            try:
                socket.send_fds(connection, [task], descriptors)
                stack.close()
                return await _answer(connection, self._seconds)
            except TimeoutError:
                worked = self._worked() - worked
                self.close()
                if worked < self._seconds * WORKED_SHARE:
                    raise ProcessAwayError("the process that reads media gets no time") from None
                return Unreadable(reason=f"whoever reads it is not done after {self._seconds:g} s")
            except (OSError, EOFError, msgspec.DecodeError):
                self.close()
                return None
            except BaseException:
                # Its answer would be taken for that to the next task.
                self.close()
                raise

    async def _ready(self) -> socket.socket:
        if self._connection is not None and self._process and self._process.poll() is None:
            return self._connection
        self.close()
        if self._timer() < self._away_until:
            raise ProcessAwayError("the process that reads media could not be started just now")
        try:
            connection = self._start()
            await _message(connection, START_SECONDS)
        except (OSError, EOFError, msgspec.DecodeError) as error:
            self.close()
            self._away_until = self._timer() + AWAY_SECONDS
            raise ProcessAwayError(f"the process that reads media: {error}") from error
        except BaseException:
            self.close()
            raise
        return connection

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection = ours
        ours.setblocking(False)
        with theirs:
            arguments = (theirs.fileno(), os.getpid(), self._memory_bytes, self._files)
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", "agents.media.process", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=child_environment(dict(os.environ), sys.path),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        return ours


def _open_all(sources: Sequence[Path], target: Path | None, stack: ExitStack) -> list[int]:
    """Return the descriptors of open files; the stack closes them."""
    try:
        files = [stack.enter_context(path.open("rb")) for path in sources]
    except OSError as error:
        raise ProcessAwayError(f"{error.filename} cannot be opened: {error.strerror}") from error
    descriptors = [file.fileno() for file in files]
    if target is not None:
        descriptors.append(stack.enter_context(target.open("w+b")).fileno())
    return descriptors


async def _answer(connection: socket.socket, seconds: float) -> Message:
    match await _message(connection, seconds):
        case Ready():
            raise EOFError("it spoke out of turn")
        case answer:
            return answer


async def _message(connection: socket.socket, seconds: float) -> Message:
    async with asyncio.timeout(seconds):
        packet = await asyncio.get_running_loop().sock_recv(connection, ANSWER_BYTES_MAX)
    if not packet:
        raise EOFError("it ended")
    return unpack(packet)
