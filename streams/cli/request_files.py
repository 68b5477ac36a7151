"""Reads files and standard input in blocks, without blocking the event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import click

from streams.new_requests import InputError

T = TypeVar("T")

STDIN = "-"

BLOCK_BYTES = 65_536
"""Bytes per read, and per batch of published requests: some thousand links."""


def display_name(name: str) -> str:
    return "standard input" if name == STDIN else name


async def read_blocks(name: str) -> AsyncIterator[bytes]:
    """Iterate over the blocks of a file as they arrive; ``-`` is standard input.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with await _in_daemon_thread(lambda: _open(name)) as file:
            while block := await _in_daemon_thread(lambda: file.read(BLOCK_BYTES)):
                yield block
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None


def _open(name: str) -> AbstractContextManager[Any]:
    if name != STDIN:
        return Path(name).open("rb", buffering=0)
    stream = click.get_binary_stream("stdin")
    # Unbuffered: the interpreter aborts if it exits while a thread holds the buffer's lock.
    return nullcontext(getattr(stream, "raw", stream))


async def _in_daemon_thread(function: Callable[[], T]) -> T:
    """Run a function that may block forever, without delaying the exit of the process."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from here only the thread may complete it

    def run() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001  (it is raised where it is awaited)
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(future)
