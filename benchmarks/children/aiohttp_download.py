"""A download by aiohttp alone, with its defaults: read only, or hashed and written as well."""

import hashlib
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import uvloop

from benchmarks.children.orders import Download
from benchmarks.children.stopwatch import stopwatch


async def main(order: Download) -> None:
    """Fetch the file the way ``read``, ``write`` or ``sync`` (that is, brought to the disk)."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=order.ca_file))
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        with stopwatch():
            async with session.get(order.url, proxy=order.proxy) as response:
                await _take(response.content.iter_any(), order)


async def _take(chunks: AsyncIterator[bytes], order: Download) -> None:
    if order.way == "read":
        assert await _read(chunks) == order.size
    else:
        target = Path(order.directory, "media")
        assert await _write(chunks, target, synced=order.way == "sync") == order.sha256


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
