"""Client of the fork server: starts it, requests forks and kills, and ends it.

Used by `agents.engine.supervisor`. All forked processes end with the fork server.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from agents.engine.forkserver import COMMAND, FORK, KILL

CLOSE_SECONDS = 1.5
_KEPT_VARIABLES = frozenset(
    {"LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "TMPDIR", "TZ", "VIRTUAL_ENV"}
)
_KEPT_PREFIXES = ("LC_", "COVERAGE_")


class ForkServer:
    """The fork server of one pool. Started on first use, and restarted after it died.

    Args:
        preload: dotted names of extractors imported before the first fork.
        packages_dir: first entry of its import path.
    """

    def __init__(self, preload: tuple[str, ...], packages_dir: Path | None = None) -> None:
        self._preload = preload
        self._packages_dir = packages_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Process id, None when it is not running."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process else None

    def fork(self, connection: socket.socket) -> None:
        """Fork a process that owns this end of a connection; does not wait for it.

        Raises:
            OSError: the fork server cannot be started, or was closed.
        """
        if self._closed:
            raise ConnectionError("the fork server was closed")
        if self.pid is None:
            self._restart()
        try:
            self._send(FORK, 0, [connection.fileno()])
        except OSError:
            self._restart()
            self._send(FORK, 0, [connection.fileno()])

    def kill(self, pid: int) -> None:
        """Kill a process of this fork server. Does nothing when it has ended already."""
        # Without a fork server nothing is left to kill: its children die with it.
        with contextlib.suppress(OSError):
            self._send(KILL, pid, [])

    async def close(self) -> None:
        """End the fork server and all of its processes, permanently."""
        self._closed = True
        process = self._disconnect()
        if process is None:
            return
        try:
            await asyncio.to_thread(process.wait, CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _send(self, opcode: bytes, pid: int, descriptors: list[int]) -> None:
        if self._control is None:
            raise ConnectionError("the fork server is not running")
        socket.send_fds(self._control, [COMMAND.pack(opcode, pid)], descriptors)

    def _restart(self) -> None:
        process = self._disconnect()
        if process is not None:
            process.kill()
            process.wait()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.setblocking(False)
            self._control = ours
            environment = engine_environment(self._packages_dir)
            self._process = _spawn(theirs.fileno(), self._preload, environment)

    def _disconnect(self) -> "subprocess.Popen[bytes] | None":
        process, self._process = self._process, None
        if self._control is not None:
            self._control.close()
            self._control = None
        return process


def _spawn(
    descriptor: int, preload: tuple[str, ...], environment: dict[str, str]
) -> "subprocess.Popen[bytes]":
    program = ("-P", "-m", "agents.engine.forkserver", str(descriptor), *preload)
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, *program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=environment,
        pass_fds=(descriptor,),
        start_new_session=True,
    )


def engine_environment(packages_dir: Path | None) -> dict[str, str]:
    """Return the environment of engine processes.

    Args:
        packages_dir: first entry of their import path.
    """
    prefix = [] if packages_dir is None else [str(packages_dir.resolve())]
    return child_environment(dict(os.environ), [*prefix, *sys.path])


def child_environment(environment: dict[str, str], path: list[str]) -> dict[str, str]:
    """Return the allowed part of an environment, with an import path.

    Proxies and CA roots of the environment would override the configured ones, and secrets must not
    be readable by foreign code.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    }
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in path),
        "YTDLP_NO_PLUGINS": "1",
        # With one malloc arena per thread, each would hold its largest page permanently.
        "MALLOC_ARENA_MAX": "2",
    }
