"""A `Storage` in a local directory or a mounted file system.

``ROOT/files/<platform>/<id>/<id>.<format>.<ext>``, or the path of a template, holds finished files;
``ROOT/files/.posts`` the records of `agents.storage.post_paths`; ``ROOT/tmp/<worker>/<job>``
unfinished files. All must be on one file system: a file is published by fsync and rename.

A store without ``files`` is unavailable: the directory is never recreated while a worker runs,
because below an unmounted mount point that would fill the wrong disk.
"""

import asyncio
import os
import shutil
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Self

from agents.storage.digest_index import DigestIndex
from agents.storage.disk import (
    make_directories,
    map_file_errors,
    run_on_disk,
    sync_directory,
    sync_file,
)
from agents.storage.file_locks import ReadLock, remove_unread
from agents.storage.interface import NO_DETAILS, FileGoneError, PublishedFile
from agents.storage.local_files import LocalFiles, path_of
from agents.storage.local_records import LocalRecords, ensure_record
from agents.storage.names import FileIds, file_name, file_stem, with_extension
from agents.storage.post_paths import PostDetails, post_stem
from agents.storage.workspaces import Workspaces
from schemas.errors import ClipmillError, ErrorCode
from schemas.path_template import PathTemplate

PROBE_NAME = ".probe"
"""Hidden, so that it is not taken for a published file; workers may probe concurrently."""

DIGEST_ATTRIBUTE = "user.clipmill.sha256"
"""Extended attribute of a published file."""

SCANNED_DIRECTORIES = 64
"""Directories that are listed by one call in a thread: most have one or two files."""

PROBE_BYTES = 65_536
"""More than a file system stores inline in its metadata: needs a data block."""


class LocalStorage:
    """A `Storage` in a directory. Constructed by `LocalStorage.open`."""

    def __init__(self, root: Path, workspaces: Workspaces, template: PathTemplate | None) -> None:
        self._files = root / "files"
        self._workspaces = workspaces
        self._template = template
        self._published = LocalFiles(self._files)
        self._digests = DigestIndex(self._files)
        self.records = LocalRecords(self._files, workspaces)

    @classmethod
    @asynccontextmanager
    async def open(cls, root: Path, template: PathTemplate | None = None) -> AsyncIterator[Self]:
        """Open the store, create it if necessary, and remove leftovers of killed workers.

        Any number of workers may share the directory.

        Args:
            root: the directory.
            template: of the paths of new posts; None: the default layout.

        Raises:
            ClipmillError: ``system.storage`` or ``system.disk_full``; names the directory.
        """
        with map_file_errors(root):
            absolute = await asyncio.to_thread(_prepare, root)
        async with Workspaces.open(absolute / "tmp") as workspaces:
            yield cls(absolute, workspaces, template)

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
        details: PostDetails = NO_DETAILS,
    ) -> str:
        """See `Storage.publish`. ``path`` must be a regular file under a workspace."""
        ids = FileIds(platform, video_id, format_id)
        name = file_name(ids, extension)
        publish = partial(self._publish, path, name, ids, sha256, details)
        return await run_on_disk(publish, self._files)

    async def link_duplicate(self, path: Path, sha256: str) -> str | None:
        """See `Storage.link_duplicate`: a hard link."""
        published = await run_on_disk(partial(self._digests.link, path, sha256), self._files)
        return None if published is None else published.as_uri()

    async def find(self, *, platform: str, video_id: str, format_id: str) -> PublishedFile | None:
        """See `Storage.find`."""
        ids = FileIds(platform, video_id, format_id)
        return await asyncio.to_thread(self._published.find_newest, ids, file_stem(ids))

    @asynccontextmanager
    async def reading(self, uri: str) -> AsyncIterator[Path]:
        """See `Storage.reading`."""
        path = path_of(uri)
        if path is None:
            raise FileGoneError(uri)
        lock = ReadLock(path)
        try:
            if not await run_on_disk(partial(self._lock, path, lock), self._files):
                raise FileGoneError(uri)
            yield path
        finally:
            lock.release()

    def _lock(self, path: Path, lock: ReadLock) -> bool:
        return self._published.stat(path) is not None and lock.acquire()

    async def files(self) -> AsyncIterator[PublishedFile]:
        """See `Storage.files`. Hidden files are records of posts or foreign ones."""
        directories = deque([self._files])
        while directories:
            found, below = await asyncio.to_thread(self._published.scan, _take(directories))
            directories.extend(below)
            for each in found:
                yield each

    async def digest(self, uri: str) -> str | None:
        """See `Storage.digest`. Needs a file system with extended attributes."""
        path = path_of(uri)
        if path is None or await asyncio.to_thread(self._published.stat, path) is None:
            return None
        return await asyncio.to_thread(read_digest, path)

    async def remove(self, uri: str) -> None:
        """See `Storage.remove`. The post's directory stays: a worker may be publishing into it."""
        path = path_of(uri)
        if path is not None:
            remove = partial(_unlink, path)
            await run_on_disk(partial(self._remove, path, remove), self._files)

    async def expire(self, file: PublishedFile) -> bool:
        """See `Storage.expire`."""
        path = path_of(file.uri)
        if path is None:
            return False
        remove = partial(remove_unread, path, file)
        return await run_on_disk(partial(self._remove, path, remove), self._files)

    async def stat(self, uri: str) -> int | None:
        """See `Storage.stat`."""
        path = path_of(uri)
        if path is None:
            return None
        status = await asyncio.to_thread(self._published.stat, path)
        return None if status is None else status.st_size

    async def restore_index(self) -> None:
        """See `Storage.restore_index`. Needs a file system with extended attributes."""
        if await asyncio.to_thread(lambda: self._digests.is_complete):
            return
        directories = deque([self._files])
        while directories:
            index = partial(self._index, _take(directories))
            directories.extend(await run_on_disk(index, self._files))
        await run_on_disk(self._digests.complete, self._files)

    def _index(self, directories: list[Path]) -> list[Path]:
        """Add the files of directories to the index; return the directories below them."""
        files, below = self._published.scan(directories)
        for path in (path_of(each.uri) for each in files):
            digest = path and read_digest(path)
            if path and digest:
                self._digests.add(path, digest)
        return below

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
        sync_file(source)
        source.replace(target)
        target.unlink(missing_ok=True)

    def _publish(
        self, path: Path, name: PurePosixPath, ids: FileIds, sha256: str, details: PostDetails
    ) -> str:
        with suppress(OSError):  # Not every file system has extended attributes.
            os.setxattr(path, DIGEST_ATTRIBUTE, sha256.encode(), follow_symlinks=False)
        sync_file(path)
        target = self._files / self._post_path(name, ids, details)
        make_directories(target.parent, self._files)
        self._check_confined(target.parent)
        replaced, shared = read_digest(target), _is_shared(target)
        path.replace(target)
        sync_directory(target.parent)
        if replaced is not None and replaced != sha256:
            self._digests.discard(target, replaced, shared=shared)
        self._digests.add(target, sha256)
        return target.as_uri()

    def _remove(self, path: Path, remove: Callable[[], bool]) -> bool:
        if self._published.stat(path) is None:
            return False
        digest, shared = read_digest(path), _is_shared(path)
        removed = remove()
        if digest is not None and not os.path.lexists(path):
            self._digests.discard(path, digest, shared=shared)
        return removed

    def _post_path(
        self, default: PurePosixPath, ids: FileIds, details: PostDetails
    ) -> PurePosixPath:
        """Return the relative path of a new file; ``default``: that of the default layout."""
        if self._template is None:
            return default
        scratch = self._workspaces.directory
        record = ensure_record(self._files, ids, self._template, details, scratch=scratch)
        return with_extension(post_stem(record, ids), default.suffix[1:])

    def _check_confined(self, directory: Path) -> None:
        if not directory.resolve().is_relative_to(self._files.resolve()):
            raise ClipmillError(
                ErrorCode.SYSTEM_STORAGE,
                f"{directory} leads out of {self._files} by a link; remove the link",
            )


def _unlink(path: Path) -> bool:
    path.unlink(missing_ok=True)
    return True


def _take(directories: deque[Path]) -> list[Path]:
    """Take the directories of the next call in a thread."""
    return [directories.popleft() for _ in range(min(len(directories), SCANNED_DIRECTORIES))]


def read_digest(path: Path) -> str | None:
    """Return the digest of a published file; None for a file that has none."""
    with suppress(OSError, UnicodeDecodeError):
        return os.getxattr(path, DIGEST_ATTRIBUTE, follow_symlinks=False).decode()
    return None


def _is_shared(path: Path) -> bool:
    try:
        return path.lstat().st_nlink > 1
    except OSError:
        return False


def _prepare(root: Path) -> Path:
    absolute = root.absolute()
    (absolute / "files").mkdir(parents=True, exist_ok=True)
    return absolute
