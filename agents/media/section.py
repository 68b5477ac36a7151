"""A byte range of an open file as a file of its own."""

import io

from agents.media.bounded_target import Source


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
