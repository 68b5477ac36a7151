"""Finished files in a directory of this machine, or of a mounted file system.

``ROOT/files/<platform>/<id>/<id>.<format>.<ext>`` holds finished files and nothing else;
``ROOT/tmp/<worker>/<job>`` what is being made. Both must be on one file system.

A store whose ``files`` has gone is away: it is never made anew while a worker runs, because below
an unmounted mount point that would fill the wrong disk.
"""

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from agents.storage.errors import FileGoneError, map_file_errors
from agents.storage.interface import Found
from agents.storage.names import file_name
from agents.storage.scratch import worker_directory
from schemas.containers import CONTAINERS
from schemas.errors import ClipmillError, ErrorCode

PROBE_NAME = ".probe"
"""Hidden, so that nobody takes it for a file; several workers may meet there."""

PROBE_BYTES = 65_536
"""More than a file system keeps beside the data of its own."""


class LocalStorage:
    """A `Storage` in a directory. Made by `LocalStorage.open`."""

    def __init__(self, root: Path, resources: ExitStack) -> None:
        self._files = root / "files"
        self._temporary = root / "tmp"
        self._resources = resources
        self._scratch = resources.enter_context(worker_directory(self._temporary))

    @classmethod
    @asynccontextmanager
    async def open(cls, root: Path) -> AsyncIterator[Self]:
        """Open the store, creating it if need be, and remove what killed workers left behind.

        Any number of workers may have the same directory open.

        Raises:
            ClipmillError: ``system.storage`` or ``system.disk_full``; names the directory.
        """
        with map_file_errors(root):
            absolute = await asyncio.to_thread(_prepared, root)
            resources = ExitStack()
            storage = await asyncio.to_thread(cls, absolute, resources)
        try:
            yield storage
        finally:
            await asyncio.to_thread(resources.close)

    @asynccontextmanager
    async def workspace(self) -> AsyncIterator[Path]:
        """See `Storage.workspace`."""
        with map_file_errors(self._scratch):
            directory = Path(tempfile.mkdtemp(dir=self._scratch, prefix="job-"))
        try:
            yield directory
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def publish(
        self, path: Path, *, platform: str, video_id: str, format_id: str, extension: str
    ) -> str:
        """See `Storage.publish`. ``path`` must be a regular file under a workspace."""
        name = file_name(
            platform=platform, video_id=video_id, format_id=format_id, extension=extension
        )
        return await asyncio.to_thread(self._publish, path, self._files / name)

    async def find(self, *, platform: str, video_id: str, format_id: str) -> Found | None:
        """See `Storage.find`."""
        names = [
            file_name(platform=platform, video_id=video_id, format_id=format_id, extension=each)
            for each in sorted(CONTAINERS)
        ]
        return await asyncio.to_thread(self._newest, [self._files / name for name in names])

    @asynccontextmanager
    async def reading(self, uri: str) -> AsyncIterator[Path]:
        """See `Storage.reading`."""
        path = _path_of(uri)
        if path is None or await asyncio.to_thread(self._look_up, path) is None:
            raise FileGoneError(uri)
        yield path

    async def stat(self, uri: str) -> int | None:
        """See `Storage.stat`."""
        path = _path_of(uri)
        if path is None:
            return None
        found = await asyncio.to_thread(self._look_up, path)
        return None if found is None else found.st_size

    async def probe(self) -> None:
        """See `Storage.probe`. Makes this worker's directory again if it is gone."""
        with map_file_errors(self._files):
            await asyncio.to_thread(self._probe)

    async def free_bytes(self) -> int:
        """See `Storage.free_bytes`."""
        with map_file_errors(self._files):
            # With the slash it is an error when something else than a directory is there.
            return (await asyncio.to_thread(shutil.disk_usage, f"{self._files}/")).free

    def _probe(self) -> None:
        shutil.disk_usage(f"{self._files}/")
        if not self._scratch.is_dir():
            self._scratch = self._resources.enter_context(worker_directory(self._temporary))
        made, target = self._scratch / PROBE_NAME, self._files / PROBE_NAME
        made.write_bytes(bytes(PROBE_BYTES))
        _sync_file(made)
        made.replace(target)
        target.unlink(missing_ok=True)

    def _publish(self, path: Path, target: Path) -> str:
        with map_file_errors(self._files):
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

    def _newest(self, paths: list[Path]) -> Found | None:
        """Return the one that was published last; a video has one folder, which is read once."""
        with map_file_errors(self._files):
            try:
                there = {path.name for path in paths[0].parent.iterdir()}
            except (FileNotFoundError, NotADirectoryError):
                return None
        found = [
            Found(uri=path.as_uri(), bytes=stated.st_size, published_at=stated.st_mtime)
            for path in paths
            if path.name in there and (stated := self._look_up(path)) is not None
        ]
        return max(found, key=lambda each: each.published_at, default=None)

    def _look_up(self, path: Path) -> os.stat_result | None:
        """Return the facts of a regular file of the store, None when there is none."""
        with map_file_errors(self._files):
            try:
                resolved = path.resolve(strict=True)
                found = resolved.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            inside = resolved.is_relative_to(self._files.resolve())
        return found if inside and stat.S_ISREG(found.st_mode) else None


def _path_of(uri: str) -> Path | None:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc or "\0" in unquote(parts.path):
        return None
    return Path(unquote(parts.path))


def _prepared(root: Path) -> Path:
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
    """Make the directories below ``top``, each durably entered in the one above."""
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
