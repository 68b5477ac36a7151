"""A download with plain aiohttp and its defaults: read only, or hashed and written as well."""

import hashlib
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import uvloop

from benchmarks.children.arguments import Download
from benchmarks.children.stopwatch import stopwatch


async def main(arguments: Download) -> None:
    """Fetch the file in the variant ``read``, ``write`` or ``sync`` (with fsync)."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=arguments.ca_file))
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        with stopwatch():
            async with session.get(arguments.url, proxy=arguments.proxy) as response:
                await _consume(response.content.iter_any(), arguments)


async def _consume(chunks: AsyncIterator[bytes], arguments: Download) -> None:
    if arguments.variant == "read":
        assert await _read(chunks) == arguments.size
    else:
        target = Path(arguments.directory, "media")
        assert await _write(chunks, target, synced=arguments.variant == "sync") == arguments.sha256


async def _read(chunks: AsyncIterator[bytes]) -> int:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
    return size


async def _write(chunks: AsyncIterator[bytes], path: Path, *, synced: bool) -> str:
    digest = hashlib.sha256()
    with path.open("xb") as file:
        async for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        if synced:
            os.fsync(file.fileno())
    return digest.hexdigest()


if __name__ == "__main__":
    uvloop.run(main(Download.read()))
