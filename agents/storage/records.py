"""Small hidden files beside the stored ones: what a store keeps of posts.

A record has a path of ids, such as ``.removed/tiktok/7000000000000000001.json``. Its first part
begins with a dot, so records are none of the published files.
"""

from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Protocol

RECORD_BYTES_MAX = 16_384
"""More than any record has: no larger file is read as one."""


class Records(Protocol):
    """The records of a `Storage`. Each is complete or absent."""

    async def read(self, name: PurePosixPath) -> bytes | None:
        """Return a record; None without one, and for a file that is none.

        Raises:
            ClipmillError: ``system.storage``, the store cannot be read.
        """
        ...

    async def write(self, name: PurePosixPath, content: bytes) -> None:
        """Write a record; an existing one is replaced atomically.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        ...

    async def remove(self, name: PurePosixPath) -> None:
        """Remove a record; one that does not exist is ignored.

        Raises:
            ClipmillError: ``system.storage``, the store refuses.
        """
        ...

    def names(self, folder: str) -> AsyncIterator[PurePosixPath]:
        """Yield the names of all records below a folder, in no particular order.

        Raises:
            ClipmillError: ``system.storage``, the store cannot be read.
        """
        ...
