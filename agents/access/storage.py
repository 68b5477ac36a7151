"""The storage of the settings: a local directory, or an object store."""

import importlib.util
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from agents.access.metered_storage import MeteredStorage
from agents.storage import LocalStorage, Storage
from schemas.errors import ClipmillError, ErrorCode
from schemas.path_template import parse_template
from streams.settings import Settings

if TYPE_CHECKING:
    from agents.storage.object_connection import ObjectStoreSettings


@asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator[Storage]:
    """Open the measured storage of finished files; remove leftovers of killed workers.

    Raises:
        ClipmillError: ``system.config``: the object store cannot be used as it is configured;
            ``system.storage`` or ``system.disk_full``: the local directory cannot.
    """
    async with _open(settings) as storage:
        yield MeteredStorage(storage)


def object_store_settings(settings: Settings) -> "ObjectStoreSettings | None":
    """Return the settings of the object store, None for a local directory.

    Raises:
        ClipmillError: ``system.config``; the extra is not installed.
    """
    chosen = settings.storage
    if chosen.url is None:
        return None
    if importlib.util.find_spec("obstore") is None:
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            "storage.url needs an extra; install clipmill[objects], or remove the setting",
        )
    # Lazy import: obstore is an extra.
    from agents.storage.object_connection import ObjectStoreSettings  # noqa: PLC0415

    return ObjectStoreSettings(
        url=chosen.url,
        endpoint=chosen.endpoint,
        region=chosen.region,
        ca_file=chosen.ca_file,
        proxy=chosen.proxy,
        connect_seconds=chosen.connect_timeout_seconds,
        request_seconds=chosen.request_timeout_seconds,
        part_bytes=chosen.part_bytes,
        parallel_parts=chosen.parallel_parts,
        single_put_bytes=chosen.single_put_bytes,
        uploads=chosen.uploads,
        memory_bytes=chosen.upload_memory_bytes,
    )


def _open(settings: Settings) -> AbstractAsyncContextManager[Storage]:
    store, text = object_store_settings(settings), settings.storage.path_template
    template = None if text is None else parse_template(text)
    if store is None:
        return LocalStorage.open(settings.data_dir, template)
    from agents.storage.object_store import ObjectStorage  # noqa: PLC0415 - as above

    return ObjectStorage.open(store, settings.data_dir.absolute(), template)
