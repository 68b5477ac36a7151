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
import stat
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import unquote, urlsplit

from agents.storage.disk import run_on_disk
from agents.storage.durability import make_directories, sync_directory, sync_file
from agents.storage.errors import FileGoneError, map_file_errors
from agents.storage.interface import NO_DETAILS, PublishedFile
from agents.storage.local_records import ensure_record, list_stem, read_record
from agents.storage.names import FileIds, extensions_of, file_name, file_stem, with_extension
from agents.storage.post_paths import PostDetails, post_stem
from agents.storage.workspaces import Workspaces
from schemas.errors import ClipmillError, ErrorCode
from schemas.path_template import PathTemplate

PROBE_NAME = ".probe"
"""Hidden, so that it is not taken for a published file; workers may probe concurrently."""

DIGEST_ATTRIBUTE = "user.clipmill.sha256"
"""Extended attribute of a published file."""

PROBE_BYTES = 65_536
"""More than a file system stores inline in its metadata: needs a data block."""


class LocalStorage:
    """A `Storage` in a directory. Constructed by `LocalStorage.open`."""

    def __init__(self, root: Path, workspaces: Workspaces, template: PathTemplate | None) -> None:
        self._files = root / "files"
        self._workspaces = workspaces
        self._template = template

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

    async def find(self, *, platform: str, video_id: str, format_id: str) -> PublishedFile | None:
        """See `Storage.find`."""
        ids = FileIds(platform, video_id, format_id)
        return await asyncio.to_thread(self._find_newest, ids, file_stem(ids))

    @asynccontextmanager
    async def reading(self, uri: str) -> AsyncIterator[Path]:
        """See `Storage.reading`."""
        path = _path_of(uri)
        if path is None or await asyncio.to_thread(self._stat, path) is None:
            raise FileGoneError(uri)
        yield path

    async def files(self) -> AsyncIterator[PublishedFile]:
        """See `Storage.files`. Hidden files are records of posts or foreign ones."""
        directories = deque([self._files])
        while directories:
            found, below = await asyncio.to_thread(self._list, directories.popleft())
            directories.extend(below)
            for each in found:
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
        path.replace(target)
        sync_directory(target.parent)
        return target.as_uri()

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

    def _list(self, directory: Path) -> tuple[list[PublishedFile], list[Path]]:
        """Return the files of a directory, and the directories below it."""
        with map_file_errors(self._files), os.scandir(directory) as entries:
            visible = sorted((each for each in entries if each.name[0] != "."), key=_name)
        below = [Path(each.path) for each in visible if each.is_dir(follow_symlinks=False)]
        files = (Path(each.path) for each in visible if not each.is_dir(follow_symlinks=False))
        return self._published(files), below

    def _find_newest(self, ids: FileIds, default: PurePosixPath) -> PublishedFile | None:
        """Return the newest file of the default layout or the post's record."""
        with map_file_errors(self._files):
            record = read_record(self._files, ids)
            extensions = extensions_of(ids.format_id)
            stems = [default] if record is None else [default, post_stem(record, ids)]
            paths = [path for stem in stems for path in list_stem(self._files / stem, extensions)]
        return max(self._published(paths), key=lambda each: each.published_at, default=None)

    def _published(self, paths: Iterable[Path]) -> list[PublishedFile]:
        return [
            PublishedFile(uri=path.as_uri(), bytes=status.st_size, published_at=status.st_mtime)
            for path in paths
            if (status := self._stat(path)) is not None
        ]

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


_name = attrgetter("name")


def _path_of(uri: str) -> Path | None:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc or "\0" in unquote(parts.path):
        return None
    return Path(unquote(parts.path))


def _prepare(root: Path) -> Path:
    absolute = root.absolute()
    (absolute / "files").mkdir(parents=True, exist_ok=True)
    return absolute
