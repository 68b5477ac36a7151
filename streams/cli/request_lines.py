"""Streaming reader of lines from files and standard input; memory is bounded by one block."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from schemas.request import strip_invisible
from streams.topics import REQUEST_BYTES_MAX

T = TypeVar("T")

STDIN = "-"

BLOCK_BYTES = 65_536
"""Bytes per read, and per batch of published requests: some thousand links."""


class InputError(Exception):
    """A line or file is unusable; the text names it and the reason."""


class RequestLine(NamedTuple):
    """A line that is neither blank nor a comment, and its location for error texts."""

    location: str
    text: str


class LineSplitter:
    """Splits the blocks of one file into lines.

    Args:
        name: name of the file, for error texts.
    """

    def __init__(self, name: str) -> None:
        self._name = "standard input" if name == STDIN else name
        self._number = 0
        self._partial = b""

    def feed(self, block: bytes) -> Iterator[RequestLine]:
        """Iterate over the lines that this block completes.

        Raises:
            InputError: a line is not UTF-8, or longer than any request may be.
        """
        *complete, self._partial = (self._partial + block).split(b"\n")
        for raw in complete:
            yield from self._line(raw)
        if len(self._partial) > REQUEST_BYTES_MAX:
            yield from self.flush()

    def flush(self) -> Iterator[RequestLine]:
        """Iterate over the last line of a file that lacks a line end."""
        raw, self._partial = self._partial, b""
        yield from self._line(raw)

    def _line(self, raw: bytes) -> Iterator[RequestLine]:
        self._number += 1
        location = f"{self._name}, line {self._number}"
        if len(raw) > REQUEST_BYTES_MAX:
            raise InputError(
                f"{location}: longer than {REQUEST_BYTES_MAX} bytes, the most of a request"
            )
        try:
            # Some editors write a byte-order mark at the start of a file, other programs of a line.
            text = strip_invisible(raw.decode())
        except UnicodeDecodeError:
            raise InputError(f"{location}: not UTF-8 text") from None
        if text and not text.startswith("#"):
            yield RequestLine(location, text)


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
    """Run a function that may block for ever, without delaying the exit of the process."""
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
