"""Blocking file calls off the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from agents.storage.errors import map_file_errors

T = TypeVar("T")

# A pool of its own: asyncio's default threads resolve names, and a slow disk must not stop DNS.
_DISK = ThreadPoolExecutor(max_workers=16, thread_name_prefix="disk")


async def run_on_disk(call: Callable[[], T], directory: Path) -> T:
    """Run a call in a disk thread; a cancellation is deferred until the thread has finished.

    Otherwise a descriptor could be closed, and its number reused, while the thread writes to it;
    or a workspace be removed while a file of it is published.

    Args:
        call: the file calls.
        directory: of the files, for the message of an error.

    Raises:
        ClipmillError: ``system.disk_full`` or ``system.storage``.
    """
    running = asyncio.get_running_loop().run_in_executor(_DISK, call)
    with map_file_errors(directory):
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            while not running.done():
                try:
                    await asyncio.wait([running])
                except asyncio.CancelledError:
                    continue
            running.exception()
            raise
