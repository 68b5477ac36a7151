"""A `Storage` in an object store: Amazon S3 and compatible services, Google Cloud, Azure.

``PREFIX/<platform>/<id>/<id>.<format>.<ext>``, or the path of a template, holds finished files;
``PREFIX/.posts`` the records of `agents.storage.post_paths`. Workspaces are local directories. A
killed upload leaves no object; its parts are invisible, and removed by the bucket's lifecycle rule.
"""

import asyncio
import errno
import shutil
import stat
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError
from obstore.store import ObjectStore

from agents.storage.disk import map_file_errors
from agents.storage.interface import NO_DETAILS, FileGoneError, PublishedFile
from agents.storage.names import (
    FILE_TYPES,
    FileIds,
    extensions_of,
    file_name,
    file_stem,
    with_extension,
)
from agents.storage.object_connection import ObjectStoreSettings, connect
from agents.storage.object_errors import from_object_error, map_object_errors
from agents.storage.object_records import ObjectRecords, ensure_record, list_stem, read_record
from agents.storage.object_upload import StoredObject, Upload, Uploader
from agents.storage.post_paths import PostDetails, post_stem
from agents.storage.workspaces import Workspaces
from agents.storage.writing import open_hashing_file
from schemas.errors import ClipmillError, ErrorCode
from schemas.path_template import PathTemplate

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

PROBE_KEY = ".probe"
"""No published file has this name; workers may probe concurrently."""

PROBE_CONTENT = b"clipmill checks that it can write here"


class ObjectStorage:
    """A `Storage` in a bucket. Constructed by `ObjectStorage.open`."""

    def __init__(
        self,
        store: ObjectStore,
        settings: ObjectStoreSettings,
        workspaces: Workspaces,
        template: PathTemplate | None = None,
    ) -> None:
        self._store = store
        self._url = settings.url.rstrip("/")
        self._part_bytes = settings.part_bytes
        self._workspaces = workspaces
        self._template = template
        self._uploader = Uploader(store, settings)
        self._reading: Counter[str] = Counter()
        self.records = ObjectRecords(store, self._url)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: ObjectStoreSettings,
        data_dir: Path,
        template: PathTemplate | None = None,
    ) -> AsyncIterator[Self]:
        """Open the store, and remove leftovers of killed workers. Sends no request.

        Args:
            settings: the store's.
            data_dir: absolute path of the parent of the workspaces' directory.
            template: of the paths of new posts; None: the default layout.

        Raises:
            ClipmillError: ``system.config``: the settings cannot be used; ``system.storage`` or
                ``system.disk_full``: no directory for workspaces.
        """
        store = connect(settings)
        async with Workspaces.open(data_dir / "tmp") as workspaces:
            yield cls(store, settings, workspaces, template)

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
        """See `Storage.publish`. A file that is stored already is not uploaded again."""
        ids = FileIds(platform, video_id, format_id)
        name, size = file_name(ids, extension), await self._size(path)
        with map_object_errors(self._url):
            if self._template is not None:
                record = await ensure_record(self._store, ids, self._template, details)
                name = with_extension(post_stem(record, ids), extension)
            upload = Upload(
                path=path,
                key=str(name),
                bytes=size,
                sha256=sha256,
                mime_type=FILE_TYPES[extension],
            )
            await self._uploader.upload(upload)
        return f"{self._url}/{name}"

    async def link_duplicate(self, path: Path, sha256: str) -> str | None:
        """See `Storage.link_duplicate`. Two keys never share bytes, also not after a copy."""
        del path, sha256
        return None

    async def find(self, *, platform: str, video_id: str, format_id: str) -> PublishedFile | None:
        """See `Storage.find`."""
        ids = FileIds(platform, video_id, format_id)
        stem, extensions = file_stem(ids), extensions_of(format_id)
        with map_object_errors(self._url):
            listed, record = await asyncio.gather(
                list_stem(self._store, stem, extensions), read_record(self._store, ids)
            )
            if record is not None:
                listed += await list_stem(self._store, post_stem(record, ids), extensions)
        found = [self._published(each) for each in listed]
        return max(found, key=lambda each: each.published_at, default=None)

    @asynccontextmanager
    async def reading(self, uri: str) -> AsyncIterator[Path]:
        """See `Storage.reading`. The file is downloaded into a workspace.

        Raises:
            ClipmillError: also ``system.disk_full``; it does not fit there.
        """
        key = self._key(uri)
        if key is None:
            raise FileGoneError(uri)
        async with self._workspaces.create() as directory:
            path = directory / PurePosixPath(key).name
            self._reading[uri] += 1
            try:
                await self._download(key, uri, path)
            finally:
                self._reading[uri] -= 1
                self._reading += Counter()  # Keeps positive counts only.
            yield path

    async def files(self) -> AsyncIterator[PublishedFile]:
        """See `Storage.files`. Hidden objects are those of checks, and records of posts."""
        with map_object_errors(self._url):
            async for batch in obstore.list(self._store):
                for each in batch:
                    if not each["path"].startswith("."):
                        yield self._published(each)

    async def digest(self, uri: str) -> str | None:
        """See `Storage.digest`."""
        key = self._key(uri)
        if key is None:
            return None
        with map_object_errors(self._url):
            stored = await self._uploader.inspect(key)
        return None if stored is None else stored.sha256

    async def remove(self, uri: str) -> None:
        """See `Storage.remove`."""
        key = self._key(uri)
        if key is not None:
            with map_object_errors(self._url), suppress(FileNotFoundError):
                await obstore.delete_async(self._store, key)

    async def expire(self, file: PublishedFile) -> bool:
        """See `Storage.expire`. A file that another process reads counts as removed for it."""
        key = self._key(file.uri)
        if key is None or self._reading[file.uri]:
            return False
        with map_object_errors(self._url):
            try:
                found = await obstore.head_async(self._store, key)
            except FileNotFoundError:
                return False
            now = self._published(found)
            # Some stores list fractions of a second and name whole ones for an object.
            if now.bytes != file.bytes or abs(now.published_at - file.published_at) >= 1:
                return False
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, key)
        return True

    async def stat(self, uri: str) -> int | None:
        """See `Storage.stat`."""
        key = self._key(uri)
        if key is None:
            return None
        with map_object_errors(self._url):
            stored = await self._uploader.inspect(key)
        return None if stored is None else stored.bytes

    async def restore_index(self) -> None:
        """See `Storage.restore_index`. There is none."""

    async def probe(self) -> None:
        """See `Storage.probe`. A bucket that forbids to delete is usable."""
        with map_file_errors(self._workspaces.directory):
            await asyncio.to_thread(self._workspaces.restore)
        with map_object_errors(self._url):
            await obstore.put_async(self._store, PROBE_KEY, PROBE_CONTENT, use_multipart=False)
            await self._uploader.inspect(PROBE_KEY)
            with suppress(PermissionDeniedError):
                await obstore.delete_async(self._store, PROBE_KEY)

    async def free_bytes(self) -> int:
        """See `Storage.free_bytes`."""
        directory = self._workspaces.directory
        with map_file_errors(directory):
            return (await asyncio.to_thread(shutil.disk_usage, directory)).free

    async def _download(self, key: str, uri: str, path: Path) -> None:
        """Download one version of an object, by a request per part: each has its own timeout."""
        with map_object_errors(self._url):
            stored = await self._uploader.inspect(key)
        if stored is None:
            raise FileGoneError(uri)
        await self._check_space(stored.bytes)
        async with open_hashing_file(path) as file:
            for start in range(0, stored.bytes, self._part_bytes):
                end = min(start + self._part_bytes, stored.bytes)
                await file.write(await self._read_part(key, uri, stored, (start, end)))
            await file.finish()

    async def _read_part(
        self, key: str, uri: str, stored: StoredObject, part: tuple[int, int]
    ) -> bytes:
        options: GetOptions = {"range": part, "if_match": stored.version.get("e_tag")}
        try:
            found = await obstore.get_async(self._store, key, options=options)
            return bytes(await found.bytes_async())
        except (FileNotFoundError, PreconditionError):
            raise FileGoneError(uri) from None
        except BaseError as error:
            raise from_object_error(error, self._url) from None

    def _published(self, meta: "ObjectMeta") -> PublishedFile:
        return PublishedFile(
            uri=f"{self._url}/{meta['path']}",
            bytes=meta["size"],
            published_at=meta["last_modified"].timestamp(),
        )

    async def _check_space(self, size: int) -> None:
        free = await self.free_bytes()
        if size > free:
            raise ClipmillError(
                ErrorCode.SYSTEM_DISK_FULL,
                f"a stored file of {size} bytes is to be read, {free} bytes are free on the disk"
                " of data_dir; free space",
            )

    async def _size(self, path: Path) -> int:
        with map_file_errors(path.parent):
            status = await asyncio.to_thread(path.lstat)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            return status.st_size

    def _key(self, uri: str) -> str | None:
        """Return the key of a URI of this store, relative to the prefix; None for any other."""
        key = uri.removeprefix(f"{self._url}/")
        is_plain = key == str(PurePosixPath(key)) and ".." not in PurePosixPath(key).parts
        return key if key not in (uri, "", ".") and is_plain else None
