"""A cache backend: one file per entry, in a directory that several workers share."""

import asyncio
import hashlib
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from agents.caching import BackendSettings

_EXPIRY = struct.Struct(">d")


class FileCache:
    """A `CacheBackend`. The caller bounds the time of each call, and handles exceptions."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def get(self, key: str, /) -> bytes | None:
        """Return the value, None for a miss."""
        return await asyncio.to_thread(self._read, key)

    async def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
        """Store a value for at most ``ttl_seconds``."""
        await asyncio.to_thread(self._write, key, _EXPIRY.pack(time.time() + ttl_seconds) + value)

    async def delete(self, key: str, /) -> None:
        """Delete a key; a missing one is no error."""
        await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._directory / hashlib.sha256(key.encode()).hexdigest()

    def _read(self, key: str) -> bytes | None:
        try:
            content = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        (expires_at,) = _EXPIRY.unpack_from(content)
        return content[_EXPIRY.size :] if time.time() < expires_at else None

    def _write(self, key: str, content: bytes) -> None:
        path = self._path(key)
        partial = path.with_name(f"{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise


@asynccontextmanager
async def open_file_cache(settings: BackendSettings) -> AsyncIterator[FileCache]:
    """Open the directory of the URL ``file:///…`` in ``cache.redis_url``."""
    yield FileCache(Path(unquote(urlsplit(settings.url or "").path)))
