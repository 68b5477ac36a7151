"""An outage of our own: while the storage takes nothing, its stage takes no records."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from agents.storage.interface import Storage
from schemas.errors import ClipmillError, ErrorCode
from streams.intake import Intake
from streams.observability.metrics import DISK_FREE
from streams.settings import DownloadSettings

PAUSE_OWNER = "storage"
"""Holds the intake."""

CODES = frozenset({ErrorCode.SYSTEM_DISK_FULL, ErrorCode.SYSTEM_STORAGE})


class StorageGuard:
    """Stops the intake when the storage fails, and starts it when the storage works again.

    Args:
        storage: what fails.
        intake: of the stage that needs it.
        settings: free bytes that a download needs, and seconds between two looks.
        pause: waits that many seconds.
    """

    def __init__(
        self,
        storage: Storage,
        intake: Intake,
        settings: DownloadSettings,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._storage = storage
        self._intake = intake
        self._settings = settings
        self._pause = pause
        self._began = asyncio.Event()

    async def check(self) -> None:
        """Return when there is room for a download.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        free, wanted = await self._storage.free_bytes(), self._settings.free_bytes
        DISK_FREE.set(free)
        if free < wanted:
            raise ClipmillError(
                ErrorCode.SYSTEM_DISK_FULL,
                f"{free} bytes of disk space are free, {wanted} are needed to begin a download;"
                " free space or lower download.free_bytes",
            )

    @contextmanager
    def watching_failures(self) -> Iterator[None]:
        """Stop the intake when the block fails because of the storage."""
        try:
            yield
        except ClipmillError as error:
            if error.code in CODES:
                self._begin(error)
            raise

    async def watch(self) -> None:
        """Look again and again while there is an outage, for ever."""
        while True:
            await self._began.wait()
            await self._pause(self._settings.storage_check_seconds)
            await self._look()

    async def _look(self) -> None:
        try:
            await self.check()
            await self._storage.probe()
        except ClipmillError as error:
            self._begin(error)
        else:
            self._began.clear()
            self._intake.resume(PAUSE_OWNER)

    def _begin(self, error: ClipmillError) -> None:
        self._intake.pause(PAUSE_OWNER, f"storage: {error.message}")
        self._began.set()
