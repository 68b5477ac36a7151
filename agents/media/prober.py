"""Looks into finished files, by a process that may be killed at any moment."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from agents.engine.forking import child_environment
from agents.media.facts import ANSWER_BYTES_MAX, LOOK, Answer, Message, Ready, Unreadable, unpack

START_SECONDS = 20.0
"""Until the process is ready: the libraries take 0.2 s, more on a machine without a free core."""

PROBE_SECONDS = 10.0
"""For one file. A sound one takes about 10 ms."""

MEMORY_BYTES = 512 * 2**20
"""Private memory: enough for the largest picture that is read (100 megapixels)."""

TRIES = 2
"""So many processes may a file kill before it is called unreadable: one may have been chance."""


class ProbeAwayError(Exception):
    """No process can be started; that says nothing about the file."""


class Probe(Protocol):
    """Looks into finished files."""

    async def probe(self, path: Path) -> Answer:
        """Return what is in a file.

        Raises:
            ProbeAwayError: it cannot be told at present.
        """
        ...


class MediaProber:
    """A `Probe` by one process, which is started for the first file and replaced when it dies.

    Args:
        seconds: for one file.
        memory_bytes: of the process.
    """

    def __init__(self, *, seconds: float = PROBE_SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._turn = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None when there is none."""
        return self._process.pid if self._process else None

    async def probe(self, path: Path) -> Answer:
        """See `Probe.probe`. Files wait for their turn."""
        async with self._turn:
            for _ in range(TRIES):
                answer = await self._ask(path)
                if answer is not None:
                    return answer
        return Unreadable(reason=f"whoever reads it dies or is not done after {self._seconds:g} s")

    def close(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._connection = self._process = None

    async def _ask(self, path: Path) -> Answer | None:
        """Return what the process says, None when it died or took too long over this file."""
        connection = await self._ready()
        try:
            file = path.open("rb")
        except OSError as error:
            raise ProbeAwayError(f"{path} cannot be opened: {error.strerror}") from error
        try:
            with file:
                socket.send_fds(connection, [LOOK], [file.fileno()])
            return await _answer(connection, self._seconds)
        except (OSError, EOFError, msgspec.DecodeError):
            self.close()
            return None
        except BaseException:
            # Its answer would be taken for that to the next file.
            self.close()
            raise

    async def _ready(self) -> socket.socket:
        if self._connection is not None and self._process and self._process.poll() is None:
            return self._connection
        self.close()
        try:
            connection = self._start()
            await _message(connection, START_SECONDS)
        except (OSError, EOFError, msgspec.DecodeError) as error:
            self.close()
            raise ProbeAwayError(f"the process that looks into files: {error}") from error
        except BaseException:
            self.close()
            raise
        return connection

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection = ours
        ours.setblocking(False)
        with theirs:
            arguments = (theirs.fileno(), os.getpid(), self._memory_bytes)
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", "agents.media.process", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=child_environment(dict(os.environ), sys.path),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        return ours


async def _answer(connection: socket.socket, seconds: float) -> Answer:
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


@asynccontextmanager
async def open_prober() -> AsyncIterator[MediaProber]:
    """Yield a prober; its process, if there is one, ends with the block."""
    prober = MediaProber()
    try:
        yield prober
    finally:
        prober.close()
