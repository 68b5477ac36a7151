"""Embedded broker and its supervisor: Kafka as a child process, without a system Java or Docker."""

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.broker import server, state
from streams.broker.config import Additions
from streams.broker.jars import default_cache_dir
from streams.broker.log import BrokerLog
from streams.broker.preparation import RUN_KAFKA, BrokerOptions, format_once, prepare
from streams.broker.server import RestartPolicy, is_ready
from streams.errors import OperatorError
from streams.file_lock import FileLock

_log = logging.getLogger(__name__)

# Measured 2 s, and 3 s after kill -9; the margin is for slow and busy machines.
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.05
# A broker whose parent was killed keeps the lock until the kernel has freed its memory.
_LOCK_SECONDS = 3.0
_LOG_CHECK_SECONDS = 30.0
_HIGHEST_PORT = 65_535


class BrokerError(OperatorError):
    """The embedded Kafka cannot be started, or died; the message quotes the end of its log."""


class EmbeddedBroker:
    """Kafka node on 127.0.0.1 with one data directory; the kernel kills it with this process.

    Acknowledged records survive kill -9 (of the broker or of this process), not a power failure:
    Kafka does not fsync. All methods must be called from one event loop, whose thread must live as
    long as the broker.

    Args:
        data_dir: topics, offsets, configuration and log; created if missing, reused otherwise.
        port: client port; by default a free one is picked and kept for later starts.
        preferred_port: client port that is picked if it is free.
        heap_megabytes: limit of Java's heap; the process takes about 100 MB more.
        cache_dir: cache of the server's jars; by default the user's cache directory.
        restarts: restart policy of `supervise`.
        additions: further listeners and settings of the server; clipmill's own listener stays.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        preferred_port: int | None = None,
        heap_megabytes: int = 256,
        cache_dir: Path | None = None,
        restarts: RestartPolicy | None = None,
        additions: Additions | None = None,
    ) -> None:
        if port is not None and not 0 < port <= _HIGHEST_PORT:
            raise ValueError(f"{port} is not a TCP port: choose one from 1 to {_HIGHEST_PORT}")
        self._dir = data_dir.absolute()
        cache = cache_dir.absolute() if cache_dir else default_cache_dir()
        self._options = BrokerOptions(
            self._dir, cache, port, preferred_port, heap_megabytes, additions or Additions()
        )
        self._restarts = restarts or RestartPolicy()
        self._lock = FileLock(self._dir / "broker.lock")
        self._log = BrokerLog(self._dir / "kafka.log")
        self._spawning = asyncio.Lock()
        self._stopped = asyncio.Event()
        self._state: state.BrokerState | None = None
        self._launch: server.Launch | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._spawned_at = 0.0

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:PORT`, stable across restarts. BrokerError before `start`."""
        if self._state is None:
            raise BrokerError("the embedded broker was not started")
        return f"{state.LOOPBACK}:{self._state.ports.broker}"

    @property
    def pid(self) -> int:
        """Process id of the server; changes with a restart. BrokerError if stopped."""
        return self._running().pid

    async def start(self) -> str:
        """Start the server and wait until it answers metadata requests; return `bootstrap`.

        Raises:
            BrokerError: the directory cannot be written, another broker holds its lock, or the
                server does not start.
            JarError: a jar cannot be downloaded, or fails verification.
            PortTakenError: the port is in use.
            StateError: `broker.json` in the directory is damaged.
        """
        if self._process is not None:
            raise BrokerError(f"the embedded broker in {self._dir} is already started")
        self._stopped.clear()
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            await self._acquire_lock()
        except OSError as error:
            raise BrokerError(
                f"the data directory {self._dir} cannot be used: {error.strerror}"
            ) from error
        try:
            self._log.rotate()
            self._launch, self._state = await prepare(self._options, self._lock.descriptor)
            await self._format(self._launch, self._state.cluster_id)
            await self._spawn(self._launch)
            await self._wait_until_ready()
        except BaseException:
            await self.stop()
            raise
        return self.bootstrap

    async def stop(self) -> None:
        """Stop the server with SIGTERM, after 15 s with SIGKILL, and release the directory lock."""
        self._stopped.set()
        try:
            async with self._spawning:
                if self._process is not None:
                    await server.terminate(self._process)
        finally:
            self._process = None
            self._lock.release()

    async def wait(self) -> int:
        """Wait for the exit of the server; return its exit code, negative for a signal."""
        return await self._running().wait()

    async def supervise(self) -> None:
        """Restart the server on the same port and data whenever it exits, until `stop`.

        Also limits the size of the server's log.

        Raises:
            BrokerError: too many early exits in a row.
        """
        early_exits, was_ready = 0, True
        while not self._stopped.is_set():
            code = await self._wait_for_exit()
            uptime = time.monotonic() - self._spawned_at
            early_exits = self._restarts.count(early_exits, uptime, was_ready=was_ready)
            await self._back_off(code, early_exits)
            was_ready = await self._restart()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise BrokerError(f"the embedded broker in {self._dir} is not started")
        return self._process

    async def _acquire_lock(self) -> None:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not self._lock.try_acquire():
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"another embedded broker (started by process {self._lock.holder()}) uses"
                    f" {self._dir}: stop it, or choose another data directory"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _format(self, launch: server.Launch, cluster_id: str) -> None:
        if not await format_once(launch, cluster_id, self._log):
            raise self._error("could not format its data directory")

    async def _spawn(self, launch: server.Launch) -> None:
        async with self._spawning:
            if self._stopped.is_set():
                raise BrokerError(f"the embedded broker in {self._dir} was stopped")
            self._spawned_at = time.monotonic()
            with self._log.open_for_append() as output:
                self._process = await launch.run(output, *RUN_KAFKA)

    async def _wait_until_ready(self) -> None:
        assert self._state is not None
        process = self._running()
        deadline = time.monotonic() + _READY_SECONDS
        while not await is_ready(self._state.ports.broker, self._state.cluster_id):
            if process.returncode is not None:
                raise self._error(f"ended with code {process.returncode} while it started")
            if time.monotonic() > deadline:
                raise self._error(f"did not answer within {_READY_SECONDS:g} s")
            await asyncio.sleep(_POLL_SECONDS)

    async def _wait_for_exit(self) -> int:
        process = self._running()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOG_CHECK_SECONDS):
                    return await process.wait()
            self._log.limit_size()

    async def _back_off(self, code: int, early_exits: int) -> None:
        if self._stopped.is_set():
            return
        delay = self._restarts.delay(early_exits)
        if delay is None:
            raise self._error(f"ended with code {code}, {early_exits} times in a row")
        _log.warning("embedded Kafka exited with code %d, restart in %g s", code, delay)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._stopped.wait()

    async def _restart(self) -> bool:
        assert self._launch is not None
        try:
            await self._spawn(self._launch)
            await self._wait_until_ready()
        except BrokerError as error:
            if not self._stopped.is_set():
                _log.warning("%s", error)
                await server.terminate(self._running())
            return False
        return True

    def _error(self, what: str) -> BrokerError:
        return BrokerError(
            f"the embedded Kafka in {self._dir} {what}. End of {self._log.path}:\n"
            f"{self._log.tail() or '(empty)'}"
        )
