"""Measures the operations of a `Storage`: duration, errors by cause, bytes."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path

from agents.storage import NO_DETAILS, PostDetails, PublishedFile, Records, Storage
from schemas.errors import ClipmillError
from streams.observability.metrics import (
    STORAGE_BYTES,
    STORAGE_ERRORS,
    STORAGE_SECONDS,
    STORAGE_SHARED_BYTES,
    observe,
    start_at_zero,
)


class MeteredStorage:
    """A `Storage` in front of another one.

    Args:
        storage: the measured one.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        start_at_zero(STORAGE_BYTES, ("written", "read"))

    @property
    def records(self) -> Records:
        """See `Storage.records`. Not measured: they are small."""
        return self._storage.records

    def workspace(self) -> AbstractAsyncContextManager[Path]:
        """See `Storage.workspace`."""
        return self._storage.workspace()

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
        """See `Storage.publish`."""
        size = _size(path)
        with _measured("publish"):
            uri = await self._storage.publish(
                path,
                platform=platform,
                video_id=video_id,
                format_id=format_id,
                extension=extension,
                sha256=sha256,
                details=details,
            )
        STORAGE_BYTES.labels("written").inc(size)
        return uri

    async def link_duplicate(self, path: Path, sha256: str) -> str | None:
        """See `Storage.link_duplicate`. The bytes that it saves are counted."""
        uri = await self._storage.link_duplicate(path, sha256)
        if uri is not None:
            STORAGE_SHARED_BYTES.inc(_size(path))
        return uri

    async def find(self, *, platform: str, video_id: str, format_id: str) -> PublishedFile | None:
        """See `Storage.find`."""
        with _measured("find"):
            return await self._storage.find(
                platform=platform, video_id=video_id, format_id=format_id
            )

    @asynccontextmanager
    async def reading(self, uri: str) -> AsyncIterator[Path]:
        """See `Storage.reading`. Measured until the file can be read."""
        async with AsyncExitStack() as stack:
            with _measured("read"):
                path = await stack.enter_async_context(self._storage.reading(uri))
            STORAGE_BYTES.labels("read").inc(_size(path))
            yield path

    def files(self) -> AsyncIterator[PublishedFile]:
        """See `Storage.files`. Not measured: the consumer's time is between the files."""
        return self._storage.files()

    async def digest(self, uri: str) -> str | None:
        """See `Storage.digest`."""
        with _measured("stat"):
            return await self._storage.digest(uri)

    async def remove(self, uri: str) -> None:
        """See `Storage.remove`."""
        with _measured("remove"):
            await self._storage.remove(uri)

    async def expire(self, file: PublishedFile) -> bool:
        """See `Storage.expire`."""
        with _measured("remove"):
            return await self._storage.expire(file)

    async def stat(self, uri: str) -> int | None:
        """See `Storage.stat`."""
        with _measured("stat"):
            return await self._storage.stat(uri)

    async def restore_index(self) -> None:
        """See `Storage.restore_index`. Not measured: it runs once."""
        await self._storage.restore_index()

    async def probe(self) -> None:
        """See `Storage.probe`."""
        with _measured("probe"):
            await self._storage.probe()

    async def free_bytes(self) -> int:
        """See `Storage.free_bytes`. Not measured: it is asked for before each download."""
        return await self._storage.free_bytes()


def _size(path: Path) -> int:
    """Return the size of a local file; 0 when it is lost, which the storage reports."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0


@contextmanager
def _measured(operation: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    except ClipmillError as error:
        cause = error.details.get("cause") or error.details.get("errno") or error.code
        STORAGE_ERRORS.labels(operation, cause).inc()
        raise
    observe(STORAGE_SECONDS.labels(operation), time.perf_counter() - started)
