"""Client of the media process: runs one task at a time in a sandboxed process, with a timeout.

Base of `agents.media.prober` and `agents.media.remuxer`. A hostile file may hang or crash the
process: it is replaced, and a file is unreadable only if the file is the likely cause.
"""

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
from agents.media.protocol import ANSWER_BYTES_MAX, MediaMessage, Ready, Unreadable, unpack

START_SECONDS = 20.0
"""Start timeout: the libraries load in 0.2 s, later on a machine without an idle core."""

CPU_SHARE_MIN = 0.5
"""CPU time per timeout from which the file is the cause of it. A process with less was starved or
stopped, which is no property of the file."""

START_BACKOFF_SECONDS = 10.0
"""Backoff after a failed start: without it, all queued files would wait for a start in turn."""

MALLOC_VARIABLES = {
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**20),
}
"""The process keeps up to 16 MiB of free heap (mallopt(3)). With glibc's own thresholds each probe
returned it: 650 page faults, as much system time as it took user time. A plane of a frame in full
HD takes 2 MiB; larger ones are mapped, and unmapped when they are freed."""

ATTEMPTS = 2
"""Processes that a file may crash before it is unreadable: one crash may be a coincidence.

A timeout is not retried: it would block all queued files for as long again.
"""


class ProcessUnavailableError(Exception):
    """The process is unavailable at present; this is no property of the files."""


class MediaProcess:
    """One process of `agents.media.process`, started on the first task, replaced after it dies.

    Args:
        files: maximum of files per task.
        seconds: timeout of a task.
        memory_bytes: limit of the process.
        timer: monotonic clock for the start backoff, in seconds.
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
        self._lock = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._timer = timer
        self._backoff_until = 0.0

    @property
    def pid(self) -> int | None:
        """Process id, None when it is not running."""
        return self._process.pid if self._process else None

    async def run(
        self, task: bytes, sources: Sequence[Path], target: Path | None = None
    ) -> MediaMessage:
        """Run a task, in FIFO order with others, and return the answer.

        Args:
            task: see `agents.media.protocol`.
            sources: opened for reading.
            target: truncated and written; incomplete after a failure.

        Raises:
            ProcessUnavailableError: no process at present, or a source cannot be opened.
            OSError: the target cannot be opened.
        """
        async with self._lock:
            for _ in range(ATTEMPTS):
                answer = await self._attempt(task, sources, target)
                if answer is not None:
                    return answer
        return Unreadable(reason="the media process died while it read the file")

    def close(self) -> None:
        """Kill the process. Never blocks: one in uninterruptible disk I/O is reaped by a thread."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            threading.Thread(target=self._process.wait, daemon=True).start()
        self._connection = self._process = None

    def _cpu_seconds(self) -> float:
        if self.pid is None:
            return 0.0
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    async def _attempt(
        self, task: bytes, sources: Sequence[Path], target: Path | None
    ) -> MediaMessage | None:
        """Return the answer, None when the process died during the task."""
        connection = await self._ready()
        cpu_seconds = self._cpu_seconds()
        with ExitStack() as stack:
            descriptors = await asyncio.to_thread(_open_all, sources, target, stack)
            try:
                socket.send_fds(connection, [task], descriptors)
                stack.close()
                return await _answer(connection, self._seconds)
            except TimeoutError:
                cpu_seconds = self._cpu_seconds() - cpu_seconds
                self.close()
                if cpu_seconds < self._seconds * CPU_SHARE_MIN:
                    raise ProcessUnavailableError("the media process gets no CPU time") from None
                return Unreadable(reason=f"the media process took longer than {self._seconds:g} s")
            except (OSError, EOFError, msgspec.DecodeError):
                self.close()
                return None
            except BaseException:
                # A late answer would be taken for the answer to the next task.
                self.close()
                raise

    async def _ready(self) -> socket.socket:
        if self._connection is not None and self._process and self._process.poll() is None:
            return self._connection
        self.close()
        if self._timer() < self._backoff_until:
            raise ProcessUnavailableError("the media process could not be started a moment ago")
        try:
            connection = self._start()
            await _receive(connection, START_SECONDS)
        except (OSError, EOFError, msgspec.DecodeError) as error:
            self.close()
            self._backoff_until = self._timer() + START_BACKOFF_SECONDS
            raise ProcessUnavailableError(
                f"the media process could not be started: {error}"
            ) from error
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
                env=child_environment(dict(os.environ), sys.path) | MALLOC_VARIABLES,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        return ours


def _open_all(sources: Sequence[Path], target: Path | None, stack: ExitStack) -> list[int]:
    """Return the descriptors of the files; the stack closes them."""
    try:
        files = [stack.enter_context(path.open("rb")) for path in sources]
    except OSError as error:
        raise ProcessUnavailableError(
            f"{error.filename} cannot be opened: {error.strerror}"
        ) from error
    descriptors = [file.fileno() for file in files]
    if target is not None:
        descriptors.append(stack.enter_context(target.open("w+b")).fileno())
    return descriptors


async def _answer(connection: socket.socket, seconds: float) -> MediaMessage:
    match await _receive(connection, seconds):
        case Ready():
            raise EOFError("it sent an unexpected message")
        case answer:
            return answer


async def _receive(connection: socket.socket, seconds: float) -> MediaMessage:
    async with asyncio.timeout(seconds):
        packet = await asyncio.get_running_loop().sock_recv(connection, ANSWER_BYTES_MAX)
    if not packet:
        raise EOFError("it ended")
    return unpack(packet)
