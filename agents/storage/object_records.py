"""Records of posts in an object store, see `agents.storage.post_paths`, and the search by stem."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import ObjectStore

from agents.storage.names import FileIds
from agents.storage.post_paths import (
    RECORD_BYTES_MAX,
    PostDetails,
    PostRecord,
    decode_record,
    encode_record,
    record_name,
)
from schemas.path_template import PathTemplate

if TYPE_CHECKING:
    from obstore import ObjectMeta


async def read_record(store: ObjectStore, ids: FileIds) -> PostRecord | None:
    """Return the record of a post; None without a valid one.

    Raises:
        obstore.exceptions.BaseError: the store refuses.
    """
    try:
        found = await obstore.get_async(store, str(record_name(ids)))
    except FileNotFoundError:
        return None
    if found.meta["size"] > RECORD_BYTES_MAX:
        return None
    return decode_record(bytes(await found.bytes_async()))


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

    The listing begins at the stem, because its folder may hold any number of other files. The keys
    follow it immediately, so the first batch contains all of them.

    Raises:
        obstore.exceptions.BaseError: the store refuses.
    """
    keys = {f"{stem}.{extension}" for extension in extensions}
    folder = None if len(stem.parts) == 1 else str(stem.parent)
    listed = obstore.list(store, folder, offset=f"{stem}.")
    async for batch in listed:
        return [each for each in batch if each["path"] in keys]
    return []
