"""One run of the Kafka server: the child process from its start to its end."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from streams.broker import launcher
from streams.broker.state import LOOPBACK


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Restart at once, then ever later; give up after too many short lives in a row.

    Attributes:
        short_life_seconds: a process that lived less, or never got ready, had a short life.
        max_short_lives: with this many short lives in a row the broker is given up.
        first_delay_seconds: wait after the first short life; doubles with each further one.
        max_delay_seconds: the longest wait.
    """

    short_life_seconds: float = 10.0
    max_short_lives: int = 5
    first_delay_seconds: float = 0.2
    max_delay_seconds: float = 5.0

    def count(self, short_lives: int, lived_seconds: float, *, was_ready: bool) -> int:
        """Short lives in a row after one more death."""
        is_short = not was_ready or lived_seconds < self.short_life_seconds
        return short_lives + 1 if is_short else 0

    def delay(self, short_lives: int) -> float | None:
        """Seconds to wait before the next start; None to give up."""
        if short_lives >= self.max_short_lives:
            return None
        if short_lives == 0:
            return 0.0
        return min(self.first_delay_seconds * 2.0 ** (short_lives - 1), self.max_delay_seconds)


# A stalled node: the next question comes on a new connection.
_ANSWER_MILLISECONDS = 3000


async def answers(port: int, cluster_id: str) -> bool:
    """Whether the node on this port serves this cluster and is registered with its controller.

    One question on one connection, and nothing is logged: aiokafka's clients log an error for
    every attempt at a server that is still starting.
    """
    try:
        connection = await create_conn(LOOPBACK, port, request_timeout_ms=_ANSWER_MILLISECONDS)
        try:
            metadata: Any = await connection.send(MetadataRequest(topics=[]))
        finally:
            await connection.close()
    except (OSError, TimeoutError, KafkaError):
        return False
    return bool(metadata.brokers) and metadata.cluster_id == cluster_id


# These add options to every Java program of the user; what Kafka gets is decided here alone.
_JAVA_VARIABLES = frozenset({"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"})
# A clean stop takes 0.2 to 2.3 s; unwritten data of a busy node more.
STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run: a command (without the main class), where, and what it inherits.

    Attributes:
        command: `java` and its options.
        directory: the working directory.
        lock: descriptor of the data directory's lock, held until the server is gone, too.
    """

    command: Sequence[str]
    directory: Path
    lock: int

    async def run(self, log: int, *main: str) -> asyncio.subprocess.Process:
        """Start a main class with arguments; output goes to the descriptor `log`.

        The process dies with this one, and does not see the terminal's Ctrl-C: the broker must
        outlive its clients' orderly stop.
        """
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", launcher.__file__, str(os.getpid())),
            *self.command,
            *main,
            cwd=self.directory,
            env=java_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(self.lock,),
            start_new_session=True,
        )


def java_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would change Java's options, and with a bound on C memory."""
    kept = {name: value for name, value in environment.items() if name not in _JAVA_VARIABLES}
    # glibc keeps up to 8 arenas per core, 64 MB each.
    return {"MALLOC_ARENA_MAX": "2"} | kept


async def end(process: asyncio.subprocess.Process, grace_seconds: float = STOP_SECONDS) -> int:
    """Stop with SIGTERM, after `grace_seconds` with SIGKILL; the exit code."""
    try:
        _send(process, signal.SIGTERM)
        async with asyncio.timeout(grace_seconds):
            return await process.wait()
    except TimeoutError:
        _send(process, signal.SIGKILL)
        return await process.wait()
    except asyncio.CancelledError:
        _send(process, signal.SIGKILL)
        raise


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        process.send_signal(number)
