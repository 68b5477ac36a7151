"""The storage of the settings: a local directory or an object store; links to its files."""

import importlib.util
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from agents.access.metered_storage import MeteredStorage
from agents.storage import LocalStorage, Storage
from schemas.errors import ClipmillError, ErrorCode
from schemas.path_template import parse_template
from streams.settings import Settings

if TYPE_CHECKING:
    from agents.storage.object_connection import ObjectStoreSettings

LINK_LIFE = timedelta(minutes=15)
"""Life of a signed link: to begin a download, and to seek in a player."""


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


def public_url(settings: Settings, uri: str) -> str | None:
    """Return the public URL of a stored file, None without ``storage.public_url_prefix``."""
    prefix = settings.storage.public_url_prefix
    if prefix is None:
        return None
    key = _key(settings, uri)
    return None if key is None else f"{prefix}/{key}"


async def file_link(settings: Settings, uri: str) -> str | None:
    """Return a link to a file: the public one, or a signed one; None where there is neither.

    Used by the console, by its entry point.
    """
    store, key = settings.storage.url, _key(settings, uri)
    public = public_url(settings, uri)
    if public is not None or store is None or key is None:
        return public
    try:
        store_settings = object_store_settings(settings)
    except ClipmillError:  # Without the extra there are no signed links.
        return None
    assert store_settings is not None
    # Lazy import: obstore is an extra.
    from agents.storage.object_connection import sign_get  # noqa: PLC0415

    return await sign_get(store_settings, uri.removeprefix(f"{store}/"), LINK_LIFE)


def _key(settings: Settings, uri: str) -> str | None:
    """Return the path of a file below the root of the storage, escaped; None for a foreign one."""
    store = settings.storage.url
    root = store or (settings.data_dir.absolute() / "files").as_uri()
    key = uri.removeprefix(f"{root}/")
    if key == uri or ".." in key.split("/"):
        return None
    return key if store is None else quote(key)
