"""One run of the Kafka server: the child process from its start to its end."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from streams.broker import launcher

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
