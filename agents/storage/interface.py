"""The interface of a store of finished files."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path, PurePosixPath
from typing import Protocol

import msgspec

from agents.storage.post_paths import PostDetails

NO_DETAILS = PostDetails()

RECORD_BYTES_MAX = 16_384
"""More than any record has: no larger file is read as one."""


class FileGoneError(Exception):
    """A published file does not exist (any more)."""


class PublishedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A published file.

    Attributes:
        uri: of the file.
        bytes: its size.
        published_at: mtime (epoch seconds), by the store's clock.
        content: of a file with several names, what they have in common; None for a single name.
    """

    uri: str
    bytes: int
    published_at: float
    content: str | None = None


class Records(Protocol):
    """Small hidden files beside the stored ones: what a `Storage` keeps of posts.

    A record has a path of ids, such as ``.withheld/tiktok/7000000000000000001.json``. Its first
    part begins with a dot, so records are none of the published files. Each is complete or absent.
    """

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


class Storage(Protocol):
    """Stores finished files under URIs. Publishing is atomic: a file is complete or absent."""

    @property
    def records(self) -> Records:
        """Records beside the files."""
        ...

    def workspace(self) -> AbstractAsyncContextManager[Path]:
        """Return a new private directory for one job; it is removed at the end of the block."""
        ...

    async def publish(
        self,
        path: Path,
        *,
        platform: str,
        video_id: str,
        format_id: str,
        extension: str,
        sha256: str,
        details: PostDetails = NO_DETAILS,
    ) -> str:
        """Move a finished file of a workspace into the store; returns its URI.

        Idempotent: the same names give the same URI, whatever the details are by then; an existing
        file is replaced atomically.

        Args:
            path: a regular file under a workspace.
            platform: name of the platform.
            video_id: id of the post.
            format_id: id of the file among those of the post.
            extension: one of `agents.storage.names.FILE_TYPES`.
            sha256: digest of the file (hex), kept as metadata.
            details: of the post, for a path by a template.

        Raises:
            ClipmillError: ``content.unsupported`` when the names cannot be used;
                ``system.disk_full`` or ``system.storage``.
        """
        ...

    async def link_duplicate(self, path: Path, sha256: str) -> str | None:
        """Replace an unpublished file by a link to a published one that has the same bytes.

        The published one may be removed at any time: its bytes stay as long as one name is left.

        Args:
            path: of the file, under a workspace.
            sha256: its digest (hex).

        Returns:
            URI of the published file; None without one, and in stores without links.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        ...

    async def find(self, *, platform: str, video_id: str, format_id: str) -> PublishedFile | None:
        """Return the newest file published under these names; None without one.

        A media file may have any extension of media, subtitles that of their id.

        Raises:
            ClipmillError: ``content.unsupported`` when the names cannot be used;
                ``system.storage``, the store cannot be read.
        """
        ...

    def reading(self, uri: str) -> AbstractAsyncContextManager[Path]:
        """Return a path to a published file, readable until the end of the block.

        Raises:
            FileGoneError: it does not exist (any more).
            ClipmillError: ``system.storage``, the store cannot be read.
        """
        ...

    def files(self) -> AsyncIterator[PublishedFile]:
        """Yield all published files, of any platform and in no particular order.

        Raises:
            ClipmillError: ``system.storage``, the store cannot be read.
        """
        ...

    async def digest(self, uri: str) -> str | None:
        """Return the SHA-256 that was given at the publication; None when it is not known.

        Raises:
            ClipmillError: ``system.storage``, the store cannot be read.
        """
        ...

    async def remove(self, uri: str) -> None:
        """Remove a published file; one that does not exist (any more) or is foreign is ignored.

        Raises:
            ClipmillError: ``system.storage``, the store refuses.
        """
        ...

    async def expire(self, file: PublishedFile) -> bool:
        """Remove a file as it was listed; return whether it was removed.

        One that has been replaced since, or that is being read, stays. Readers of other processes
        are seen on disks only.

        Raises:
            ClipmillError: ``system.storage``, the store refuses.
        """
        ...

    async def stat(self, uri: str) -> int | None:
        """Return the size of a published file in bytes; None when it does not exist (any more).

        Raises:
            ClipmillError: ``system.storage``; the store cannot be read.
        """
        ...

    async def restore_index(self) -> None:
        """Rebuild the index of `link_duplicate` if it is lost; takes a while then.

        Raises:
            ClipmillError: ``system.storage``, the store cannot be read.
        """
        ...

    async def probe(self) -> None:
        """Health check: do once what a download needs of the store, and clean up.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``; the store is unusable (yet).
        """
        ...

    async def free_bytes(self) -> int:
        """Return the free bytes for workspaces.

        Raises:
            ClipmillError: ``system.storage``; the store cannot be read.
        """
        ...
