"""Storage guard: pauses the intake of the stage while the storage fails or is full.

Not a circuit breaker: events in flight wait for the end of the outage, and none is rejected.
"""

import asyncio
from collections.abc import Awaitable, Callable

from agents.storage.interface import Storage
from schemas.errors import ClipmillError, ErrorCode
from streams.intake import Intake
from streams.observability.metrics import DISK_FREE
from streams.settings import DownloadSettings

PAUSE_OWNER = "storage"
"""Owner of the intake's pause."""

STORAGE_ERROR_CODES = frozenset({ErrorCode.SYSTEM_DISK_FULL, ErrorCode.SYSTEM_STORAGE})


class StorageGuard:
    """Pauses the intake when the storage fails, and resumes it when a probe succeeds.

    Args:
        storage: the guarded storage.
        intake: intake of the stage that uses it.
        settings: free bytes that a download needs, and seconds between two probes.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        storage: Storage,
        intake: Intake,
        settings: DownloadSettings,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._storage = storage
        self._intake = intake
        self._settings = settings
        self._sleep = sleep
        self._failing = asyncio.Event()

    async def check(self) -> None:
        """Check that there is enough disk space for a download, and export it as a metric.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        free, required = await self._storage.free_bytes(), self._settings.free_bytes
        DISK_FREE.set(free)
        if free < required:
            raise ClipmillError(
                ErrorCode.SYSTEM_DISK_FULL,
                f"{free} bytes of disk space are free, {required} are needed to begin a download;"
                " free space or lower download.free_bytes",
            )

    def pause_intake(self, error: ClipmillError) -> None:
        """Pause the intake, because of a storage error, until a probe succeeds."""
        self._intake.pause(PAUSE_OWNER, f"storage: {error.message}")
        self._failing.set()

    async def watch(self) -> None:
        """Probe the storage periodically during an outage; runs until cancelled."""
        while True:
            await self._failing.wait()
            await self._sleep(self._settings.storage_check_seconds)
            await self._probe()

    async def _probe(self) -> None:
        try:
            await self.check()
            await self._storage.probe()
        except ClipmillError as error:
            self.pause_intake(error)
        else:
            self._failing.clear()
            self._intake.resume(PAUSE_OWNER)
