"""Records in an object store, those of posts among them, and the search by stem."""

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import ObjectStore

from agents.storage.interface import RECORD_BYTES_MAX
from agents.storage.names import FileIds
from agents.storage.object_errors import map_object_errors
from agents.storage.post_paths import (
    PostDetails,
    PostRecord,
    decode_record,
    encode_record,
    record_name,
)
from schemas.path_template import PathTemplate

if TYPE_CHECKING:
    from obstore import ObjectMeta


class ObjectRecords:
    """`Records` in a bucket.

    Args:
        store: client of the store.
        url: of the store, for the message of an error.
    """

    def __init__(self, store: ObjectStore, url: str) -> None:
        self._store = store
        self._url = url

    async def read(self, name: PurePosixPath) -> bytes | None:
        """See `Records.read`."""
        with map_object_errors(self._url):
            return await _read_object(self._store, name)

    async def write(self, name: PurePosixPath, content: bytes) -> None:
        """See `Records.write`."""
        with map_object_errors(self._url):
            await obstore.put_async(self._store, str(name), content, use_multipart=False)

    async def remove(self, name: PurePosixPath) -> None:
        """See `Records.remove`."""
        with map_object_errors(self._url), suppress(FileNotFoundError):
            await obstore.delete_async(self._store, str(name))

    async def names(self, folder: str) -> AsyncIterator[PurePosixPath]:
        """See `Records.names`."""
        with map_object_errors(self._url):
            async for batch in obstore.list(self._store, folder):
                for each in batch:
                    yield PurePosixPath(each["path"])


async def read_record(store: ObjectStore, ids: FileIds) -> PostRecord | None:
    """Return the record of a post; None without a valid one.

    Raises:
        obstore.exceptions.BaseError: the store refuses.
    """
    content = await _read_object(store, record_name(ids))
    return None if content is None else decode_record(content)


async def _read_object(store: ObjectStore, name: PurePosixPath) -> bytes | None:
    try:
        found = await obstore.get_async(store, str(name))
    except FileNotFoundError:
        return None
    if found.meta["size"] > RECORD_BYTES_MAX:
        return None
    return bytes(await found.bytes_async())


async def ensure_record(
    store: ObjectStore, ids: FileIds, template: PathTemplate, details: PostDetails
) -> PostRecord:
    """Return the record of a post; create it for a new post.

    Raises:
        obstore.exceptions.BaseError: the store refuses.
    """
    known = await read_record(store, ids)
    if known is not None:
        return known
    record = PostRecord.of(template, details)
    try:
        await obstore.put_async(
            store, str(record_name(ids)), encode_record(record), mode="create", use_multipart=False
        )
    except AlreadyExistsError:
        # Another worker's, or a malformed one, which is not replaced.
        return await read_record(store, ids) or record
    return record


async def list_stem(
    store: ObjectStore, stem: PurePosixPath, extensions: Iterable[str]
) -> "list[ObjectMeta]":
    """Return the objects whose keys are a stem with one of the extensions.

    The listing begins at the stem, because its folder may hold any number of other files, and ends
    behind it. In between are the subtitles of the stem, which may exceed a batch.

    Raises:
        obstore.exceptions.BaseError: the store refuses.
    """
    start, found = f"{stem}.", list["ObjectMeta"]()
    keys = {f"{start}{extension}" for extension in extensions}
    folder = None if len(stem.parts) == 1 else str(stem.parent)
    async for batch in obstore.list(store, folder, offset=start):
        found += (each for each in batch if each["path"] in keys)
        if not batch[-1]["path"].startswith(start):
            break
    return found
