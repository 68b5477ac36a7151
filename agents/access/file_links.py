"""Links to stored files: public ones of the settings, and signed ones of object stores."""

from datetime import timedelta
from urllib.parse import quote

from agents.access.storage import object_store_settings
from schemas.errors import ClipmillError
from streams.settings import Settings

LINK_LIFE = timedelta(minutes=15)
"""Life of a signed link: to begin a download, and to seek in a player."""


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
