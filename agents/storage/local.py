"""Finished files in a directory of this machine, or of a mounted file system.

``ROOT/files/<platform>/<id>/<id>.<format>.<ext>`` holds finished files and nothing else;
``ROOT/tmp/<worker>/<job>`` what is being made. Both must be on one file system.
"""

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from agents.storage.errors import map_file_errors
from agents.storage.names import file_name
from agents.storage.scratch import worker_directory
from schemas.errors import ClipmillError, ErrorCode


class LocalStorage:
    """A `Storage` in a directory. Made by `LocalStorage.open`."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self._files = root / "files"
        self._scratch = scratch

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
            worker = worker_directory(absolute / "tmp")
            scratch = await asyncio.to_thread(worker.__enter__)
        try:
            yield cls(absolute, scratch)
        finally:
            await asyncio.to_thread(worker.__exit__, None, None, None)

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

    async def stat(self, uri: str) -> int | None:
        """See `Storage.stat`."""
        parts = urlsplit(uri)
        if parts.scheme != "file" or parts.netloc or "\0" in unquote(parts.path):
            return None
        return await asyncio.to_thread(self._stat, Path(unquote(parts.path)))

    async def free_bytes(self) -> int:
        """See `Storage.free_bytes`."""
        with map_file_errors(self._files):
            return (await asyncio.to_thread(shutil.disk_usage, self._files)).free

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

    def _stat(self, path: Path) -> int | None:
        with map_file_errors(self._files):
            try:
                resolved = path.resolve(strict=True)
                found = resolved.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            inside = resolved.is_relative_to(self._files.resolve())
        return found.st_size if inside and stat.S_ISREG(found.st_mode) else None


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
