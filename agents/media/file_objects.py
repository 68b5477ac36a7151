"""File objects for FFmpeg: an output with a size limit, and a byte range of an input."""

import io
from io import FileIO
from typing import BinaryIO

Source = FileIO | BinaryIO


class TooLargeError(ValueError):
    """A write would exceed the size limit."""


class BoundedTarget(io.RawIOBase):
    """Size-limited output file that keeps the first error of the disk.

    Several objects can share one descriptor, each with its own position: to move the index to the
    front, FFmpeg opens the output a second time.

    Attributes:
        error: the first OSError of a write, in case PyAV raises another one for it.
    """

    def __init__(self, file: Source, bytes_max: int) -> None:
        super().__init__()
        self._file = file
        self._bytes_max = bytes_max
        self._position = 0
        self.error: OSError | None = None

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def writable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def reopened(self) -> "BoundedTarget":
        """Return another object for the same file, at position 0."""
        return BoundedTarget(self._file, self._bytes_max)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        if whence == io.SEEK_END:
            self._position = self._file.seek(offset, io.SEEK_END)
        else:
            self._position = offset + (self._position if whence == io.SEEK_CUR else 0)
        return self._position

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """See `io.RawIOBase`."""
        self._file.seek(self._position)
        data = self._file.read(size)
        self._position += len(data or b"")
        return data or b""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write all bytes.

        Raises:
            TooLargeError: the file would exceed `bytes_max`.
            OSError: of the disk.
        """
        if self._position + len(data) > self._bytes_max:
            raise TooLargeError(f"the output has more than {self._bytes_max} bytes")
        try:
            self._file.seek(self._position)
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.error = self.error or error
            raise
        self._position += len(data)
        return len(data)


class Section(io.RawIOBase):
    """Read-only view of a file's bytes from ``start`` up to ``end``.

    Several sections can share one descriptor, each with its own position.
    """

    def __init__(self, file: Source, start: int, end: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._end = end
        self._position = start

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._position, io.SEEK_END: self._end}
        self._position = max(base[whence] + offset, self._start)
        return self.tell()

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._position - self._start

    def read(self, size: int = -1) -> bytes:
        """See `io.RawIOBase`."""
        left = max(self._end - self._position, 0)
        self._file.seek(self._position)
        data = self._file.read(left if size < 0 else min(size, left)) or b""
        self._position += len(data)
        return data
