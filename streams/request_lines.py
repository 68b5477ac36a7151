"""Splits text into the lines of requests; memory is bounded by one block."""

from collections.abc import Iterator
from typing import NamedTuple

from schemas.request import strip_invisible
from streams.topics import REQUEST_BYTES_MAX


class InputError(Exception):
    """A line or file is unusable; the text names it and the reason."""


class RequestLine(NamedTuple):
    """A line that is neither blank nor a comment, and its location for error texts."""

    location: str
    text: str


class LineSplitter:
    """Splits the blocks of one file into lines.

    Args:
        name: name of the source, for error texts.
    """

    def __init__(self, name: str) -> None:
        self._name = name
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
                f"{location}: longer than {REQUEST_BYTES_MAX} bytes, the maximum of a request"
            )
        try:
            # Some editors write a byte-order mark at the start of a file, other programs of a line.
            text = strip_invisible(raw.decode())
        except UnicodeDecodeError:
            raise InputError(f"{location}: not UTF-8 text") from None
        if text and not text.startswith("#"):
            yield RequestLine(location, text)
