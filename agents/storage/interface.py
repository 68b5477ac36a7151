"""What a store of finished files must offer."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import msgspec


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A published file.

    Attributes:
        uri: where it is.
        bytes: its size.
        published_at: epoch second of its last byte, by the store's clock.
    """

    uri: str
    bytes: int
    published_at: float


class Storage(Protocol):
    """Keeps finished files: each appears whole or not at all, and is found again by its URI."""

    def workspace(self) -> AbstractAsyncContextManager[Path]:
        """Return a new private directory for one job; it is gone at the end of the block."""
        ...

    async def publish(
        self, path: Path, *, platform: str, video_id: str, format_id: str, extension: str
    ) -> str:
        """Move a finished file of a workspace into the store; returns its URI.

        The same names give the same URI; an older file under it is replaced in one step.

        Raises:
            ClipmillError: ``content.unsupported`` when the names cannot be used;
                ``system.disk_full`` or ``system.storage``.
        """
        ...

    async def find(self, *, platform: str, video_id: str, format_id: str) -> Found | None:
        """Return the newest file that was published under these names; None when there is none.

        Its extension is whatever fitted what was in it.

        Raises:
            ClipmillError: ``content.unsupported`` when the names cannot be used;
                ``system.storage``, it cannot be told.
        """
        ...

    def reading(self, uri: str) -> AbstractAsyncContextManager[Path]:
        """Return a path at which a published file can be read until the end of the block.

        Raises:
            FileGoneError: it is not there (any more).
            ClipmillError: ``system.storage``, it cannot be told.
        """
        ...

    async def stat(self, uri: str) -> int | None:
        """Return the size in bytes of a published file; None when it is not (or no longer) there.

        Raises:
            ClipmillError: ``system.storage``; it cannot be told.
        """
        ...

    async def probe(self) -> None:
        """Do once what a download needs of the store, and leave no trace.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``; it cannot be done (yet).
        """
        ...

    async def free_bytes(self) -> int:
        """Return how many bytes workspaces can still take.

        Raises:
            ClipmillError: ``system.storage``; it cannot be told.
        """
        ...
