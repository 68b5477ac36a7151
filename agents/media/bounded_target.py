"""The file that a remux writes: as large as it may get and no larger."""

import io
from io import FileIO
from typing import BinaryIO

Source = FileIO | BinaryIO


class TooLargeError(ValueError):
    """More was to be written than may be."""


class BoundedTarget(io.RawIOBase):
    """The file that is written: its size is bounded, and it keeps the first error of the disk.

    Several may write and read one descriptor, each at its own place: to move the index to the
    front, the library opens the file once more.
    """

    def __init__(self, file: Source, bytes_max: int) -> None:
        super().__init__()
        self._file = file
        self._bytes_max = bytes_max
        self._place = 0
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

    def again(self) -> "BoundedTarget":
        """Return the same file at its beginning."""
        return BoundedTarget(self._file, self._bytes_max)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        if whence == io.SEEK_END:
            self._place = self._file.seek(offset, io.SEEK_END)
        else:
            self._place = offset + (self._place if whence == io.SEEK_CUR else 0)
        return self._place

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._place

    def read(self, size: int = -1) -> bytes:
        """See `io.RawIOBase`."""
        self._file.seek(self._place)
        found = self._file.read(size)
        self._place += len(found or b"")
        return found or b""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write all of it.

        Raises:
            TooLargeError: see `bytes_max`.
            OSError: the disk does not take it.
        """
        if self._place + len(data) > self._bytes_max:
            raise TooLargeError(f"what is made of it has more than {self._bytes_max} bytes")
        try:
            self._file.seek(self._place)
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.error = self.error or error
            raise
        self._place += len(data)
        return len(data)
