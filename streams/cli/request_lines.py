"""Lines of files and of standard input: read as they come, never a file as a whole."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from schemas.request import trimmed
from streams.topics import REQUEST_BYTES_MAX

T = TypeVar("T")

STDIN = "-"

BLOCK_BYTES = 65_536
"""Bytes that are read at once, and published at once: some thousand links."""


class InputError(Exception):
    """A line cannot be used; the text says which one, and why."""


class Line(NamedTuple):
    """A line that is neither blank nor a comment."""

    place: str
    text: str


class LineSplitter:
    """Makes lines of the blocks of one file.

    Args:
        name: of the file, for error texts.
    """

    def __init__(self, name: str) -> None:
        self._name = "standard input" if name == STDIN else name
        self._number = 0
        self._rest = b""

    def feed(self, block: bytes) -> Iterator[Line]:
        """Iterate over the lines that are complete with this block.

        Raises:
            InputError: a line is no text, or longer than any request may be.
        """
        *complete, self._rest = (self._rest + block).split(b"\n")
        for raw in complete:
            yield from self._line(raw)
        if len(self._rest) > REQUEST_BYTES_MAX:
            yield from self.end()

    def end(self) -> Iterator[Line]:
        """Iterate over what is left at the end of the file: a last line without an end."""
        raw, self._rest = self._rest, b""
        yield from self._line(raw)

    def _line(self, raw: bytes) -> Iterator[Line]:
        self._number += 1
        place = f"{self._name}, line {self._number}"
        if len(raw) > REQUEST_BYTES_MAX:
            raise InputError(
                f"{place}: longer than {REQUEST_BYTES_MAX} bytes, the most of a request"
            )
        try:
            # Editors of some systems begin a file with a byte-order mark, other programs a line.
            text = trimmed(raw.decode())
        except UnicodeDecodeError:
            raise InputError(f"{place}: not UTF-8 text") from None
        if text and not text.startswith("#"):
            yield Line(place, text)


async def read_blocks(name: str) -> AsyncIterator[bytes]:
    """Iterate over the blocks of a file as they come, of standard input for ``-``.

    Raises:
        InputError: it cannot be read.
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
    # Without its buffer: that has a lock, and an interpreter that ends while a thread holds it
    # aborts.
    return nullcontext(getattr(stream, "raw", stream))


async def _in_daemon_thread(function: Callable[[], T]) -> T:
    """Return what a function returns that may block for ever; it does not hold up the exit."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from now on only the thread ends it

    def run() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001  (it is raised where it is awaited)
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(future)
