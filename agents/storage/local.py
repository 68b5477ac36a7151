"""A `Storage` in a local directory or a mounted file system.

``ROOT/files/<platform>/<id>/<id>.<format>.<ext>`` holds finished files and nothing else;
``ROOT/tmp/<worker>/<job>`` unfinished ones. Both must be on one file system: a file is published by
fsync and rename.

A store without ``files`` is unavailable: the directory is never recreated while a worker runs,
because below an unmounted mount point that would fill the wrong disk.
"""

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from agents.storage.disk import run_on_disk
from agents.storage.errors import FileGoneError, map_file_errors
from agents.storage.interface import PublishedFile
from agents.storage.names import file_name, file_stem
from agents.storage.workspaces import Workspaces
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import CONTAINERS

PROBE_NAME = ".probe"
"""Hidden, so that it is not taken for a published file; workers may probe concurrently."""

DIGEST_ATTRIBUTE = "user.clipmill.sha256"
"""Extended attribute of a published file."""

PROBE_BYTES = 65_536
"""More than a file system stores inline in its metadata: needs a data block."""


class LocalStorage:
    """A `Storage` in a directory. Constructed by `LocalStorage.open`."""

    def __init__(self, root: Path, workspaces: Workspaces) -> None:
        self._files = root / "files"
        self._workspaces = workspaces

    @classmethod
    @asynccontextmanager
    async def open(cls, root: Path) -> AsyncIterator[Self]:
        """Open the store, create it if necessary, and remove leftovers of killed workers.

        Any number of workers may share the directory.

        Raises:
            ClipmillError: ``system.storage`` or ``system.disk_full``; names the directory.
        """
        with map_file_errors(root):
            absolute = await asyncio.to_thread(_prepare, root)
        async with Workspaces.open(absolute / "tmp") as workspaces:
            yield cls(absolute, workspaces)

    def workspace(self) -> AbstractAsyncContextManager[Path]:
        """See `Storage.workspace`."""
        return self._workspaces.create()

    async def publish(
        self,
        path: Path,
        *,
        platform: str,
        video_id: str,
        format_id: str,
        extension: str,
        sha256: str,
    ) -> str:
        """See `Storage.publish`. ``path`` must be a regular file under a workspace."""
        name = file_name(
            platform=platform, video_id=video_id, format_id=format_id, extension=extension
        )
        publish = partial(self._publish, path, self._files / name, sha256)
        return await run_on_disk(publish, self._files)

    async def find(self, *, platform: str, video_id: str, format_id: str) -> PublishedFile | None:
        """See `Storage.find`."""
        stem = file_stem(platform=platform, video_id=video_id, format_id=format_id)
        return await asyncio.to_thread(self._find_newest, self._files / stem)

    @asynccontextmanager
    async def reading(self, uri: str) -> AsyncIterator[Path]:
        """See `Storage.reading`."""
        path = _path_of(uri)
        if path is None or await asyncio.to_thread(self._stat, path) is None:
            raise FileGoneError(uri)
        yield path

    async def files(self) -> AsyncIterator[PublishedFile]:
        """See `Storage.files`. Hidden files are foreign ones."""
        for folder in await asyncio.to_thread(self._directories):
            for each in await asyncio.to_thread(self._list, folder):
                yield each

    async def digest(self, uri: str) -> str | None:
        """See `Storage.digest`. Needs a file system with extended attributes."""
        path = _path_of(uri)
        if path is None or await asyncio.to_thread(self._stat, path) is None:
            return None
        with suppress(OSError):
            return (await asyncio.to_thread(os.getxattr, path, DIGEST_ATTRIBUTE)).decode()
        return None

    async def remove(self, uri: str) -> None:
        """See `Storage.remove`. The post's directory stays: a worker may be publishing into it."""
        path = _path_of(uri)
        if path is not None and await asyncio.to_thread(self._stat, path) is not None:
            with map_file_errors(self._files):
                await asyncio.to_thread(path.unlink, missing_ok=True)

    async def stat(self, uri: str) -> int | None:
        """See `Storage.stat`."""
        path = _path_of(uri)
        if path is None:
            return None
        status = await asyncio.to_thread(self._stat, path)
        return None if status is None else status.st_size

    async def probe(self) -> None:
        """See `Storage.probe`. Recreates this worker's directory if it was removed."""
        with map_file_errors(self._files):
            await asyncio.to_thread(self._probe)

    async def free_bytes(self) -> int:
        """See `Storage.free_bytes`."""
        with map_file_errors(self._files):
            # With the trailing slash a file at this path is an error.
            return (await asyncio.to_thread(shutil.disk_usage, f"{self._files}/")).free

    def _probe(self) -> None:
        shutil.disk_usage(f"{self._files}/")
        self._workspaces.restore()
        source, target = self._workspaces.directory / PROBE_NAME, self._files / PROBE_NAME
        source.write_bytes(bytes(PROBE_BYTES))
        _sync_file(source)
        source.replace(target)
        target.unlink(missing_ok=True)

    def _publish(self, path: Path, target: Path, sha256: str) -> str:
        with suppress(OSError):  # Not every file system has extended attributes.
            os.setxattr(path, DIGEST_ATTRIBUTE, sha256.encode(), follow_symlinks=False)
        _sync_file(path)
        _make_directories(target.parent, self._files)
        self._check_confined(target.parent)
        path.replace(target)
        _sync_directory(target.parent)
        return target.as_uri()

    def _check_confined(self, directory: Path) -> None:
        if not directory.resolve().is_relative_to(self._files.resolve()):
            raise ClipmillError(
                ErrorCode.SYSTEM_STORAGE,
                f"{directory} leads out of {self._files} by a link; remove the link",
            )

    def _directories(self) -> list[Path]:
        """Return the directories of posts."""
        with map_file_errors(self._files):
            return sorted(path for path in self._files.glob("[!.]*/[!.]*") if path.is_dir())

    def _list(self, directory: Path) -> list[PublishedFile]:
        with map_file_errors(self._files):
            paths = sorted(directory.glob("[!.]*"))
        return [
            PublishedFile(uri=path.as_uri(), bytes=status.st_size, published_at=status.st_mtime)
            for path in paths
            if (status := self._stat(path)) is not None
        ]

    def _find_newest(self, stem: Path) -> PublishedFile | None:
        """Return the newest file of a stem with any extension; their folder is listed once."""
        names = {f"{stem.name}.{extension}" for extension in CONTAINERS}
        with map_file_errors(self._files):
            try:
                existing = names & {path.name for path in stem.parent.iterdir()}
            except (FileNotFoundError, NotADirectoryError):
                return None
        found = [
            PublishedFile(uri=path.as_uri(), bytes=status.st_size, published_at=status.st_mtime)
            for path in map(stem.with_name, sorted(existing))
            if (status := self._stat(path)) is not None
        ]
        return max(found, key=lambda each: each.published_at, default=None)

    def _stat(self, path: Path) -> os.stat_result | None:
        """Return the status of a regular file inside the store, links resolved; None otherwise."""
        with map_file_errors(self._files):
            try:
                resolved = path.resolve(strict=True)
                status = resolved.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            inside = resolved.is_relative_to(self._files.resolve())
        return status if inside and stat.S_ISREG(status.st_mode) else None


def _path_of(uri: str) -> Path | None:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc or "\0" in unquote(parts.path):
        return None
    return Path(unquote(parts.path))


def _prepare(root: Path) -> Path:
    absolute = root.absolute()
    (absolute / "files").mkdir(parents=True, exist_ok=True)
    return absolute


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_directories(directory: Path, top: Path) -> None:
    """Create the directories below ``top``; fsync each parent, so that the entries are durable."""
    if directory == top or directory.is_dir():
        return
    _make_directories(directory.parent, top)
    directory.mkdir(exist_ok=True)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
