"""Child process of the Kafka server: launch, readiness probe, termination, restart policy."""

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
    """Restart with exponential backoff; give up after too many early exits in a row.

    Attributes:
        min_uptime_seconds: an exit before this uptime, or before readiness, is an early one.
        max_early_exits: number of consecutive early exits at which the broker is given up.
        first_delay_seconds: backoff after the first early exit; doubles with each further one.
        max_delay_seconds: maximum backoff.
    """

    min_uptime_seconds: float = 10.0
    max_early_exits: int = 5
    first_delay_seconds: float = 0.2
    max_delay_seconds: float = 5.0

    def count(self, early_exits: int, uptime_seconds: float, *, was_ready: bool) -> int:
        """Return the number of consecutive early exits after a further exit."""
        is_early = not was_ready or uptime_seconds < self.min_uptime_seconds
        return early_exits + 1 if is_early else 0

    def delay(self, early_exits: int) -> float | None:
        """Return the seconds before the next start; None to give up."""
        if early_exits >= self.max_early_exits:
            return None
        if early_exits == 0:
            return 0.0
        return min(self.first_delay_seconds * 2.0 ** (early_exits - 1), self.max_delay_seconds)


# Request timeout; after a stall the next probe uses a new connection.
_PROBE_MILLISECONDS = 3000


async def is_ready(port: int, cluster_id: str) -> bool:
    """Probe whether the node on a port serves the cluster and is registered with its controller.

    Sends one metadata request on one raw connection, without logging: aiokafka's clients log an
    error for every connection attempt to a server that is still starting.
    """
    try:
        connection = await create_conn(LOOPBACK, port, request_timeout_ms=_PROBE_MILLISECONDS)
        try:
            metadata: Any = await connection.send(MetadataRequest(topics=[]))
        finally:
            await connection.close()
    except (OSError, TimeoutError, KafkaError):
        return False
    return bool(metadata.brokers) and metadata.cluster_id == cluster_id


# Variables that add options to every Java program of the user; removed from Kafka's environment.
_JAVA_VARIABLES = frozenset({"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"})
# A clean stop takes 0.2 to 2.3 s, longer with unflushed data of a busy node.
STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Launch:
    """Launch configuration of the server's Java programs.

    Attributes:
        command: `java` and its options, without the main class.
        directory: working directory.
        lock: inherited descriptor of the data directory's lock, held until the server exits too.
        checkpoint: cache of the feature levels that the storage tool writes, None: not cacheable.
    """

    command: Sequence[str]
    directory: Path
    lock: int
    checkpoint: Path | None = None

    async def run(self, log: int, *main: str) -> asyncio.subprocess.Process:
        """Start a main class with arguments; its output goes to the descriptor `log`.

        The process is killed with this one, but does not receive the terminal's Ctrl-C (own
        session): the broker must outlive the clean shutdown of its clients.
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
    """Return the environment without Java option variables, and with few glibc arenas."""
    kept = {name: value for name, value in environment.items() if name not in _JAVA_VARIABLES}
    # glibc keeps up to 8 arenas per core, 64 MB each.
    return {"MALLOC_ARENA_MAX": "2"} | kept


async def terminate(
    process: asyncio.subprocess.Process, grace_seconds: float = STOP_SECONDS
) -> int:
    """Stop with SIGTERM, after `grace_seconds` with SIGKILL; return the exit code."""
    try:
        _signal(process, signal.SIGTERM)
        async with asyncio.timeout(grace_seconds):
            return await process.wait()
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        return await process.wait()
    except asyncio.CancelledError:
        _signal(process, signal.SIGKILL)
        raise


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        process.send_signal(number)
