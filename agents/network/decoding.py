"""Streaming decoders of compressed media bodies: some servers ignore ``Accept-Encoding: identity``.

A decoded chunk has at most `CHUNK_BYTES`, whatever the input is, and the compression ratio of a
body is bounded (decompression bombs). The caller limits the total size.
"""

import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import brotli

from schemas.errors import ClipmillError, ErrorCode

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK_BYTES = 256 * 1024
"""Limit of a decoded chunk: inflating it blocks the event loop for 1 ms only."""

GROWTH_MAX = 20
"""Maximum compression ratio: media is compressed already, and hardly grows; zeros do 1,000-fold."""

GROWTH_FREE_BYTES = 16 * 2**20
"""Decoded bytes below which the ratio is not checked: an uncompressed black picture exceeds it."""

MEMBERS_MAX = 10_000
"""Limit of members (frames) per body: an empty one costs time, too."""

_ZSTD_WINDOW_LOG_MAX = 23
"""8 MiB of memory, the window that a sender may expect (RFC 9659)."""

_GZIP_BITS, _ZLIB_BITS, _RAW_DEFLATE_BITS = 31, 15, -15
_DEFLATE_METHOD = 8


class Decoder(Protocol):
    """A stateful decoder of one body."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield decoded chunks. The caller must exhaust the iterator.

        Raises:
            ClipmillError: ``network.server``; the data is invalid, or a decompression bomb.
        """
        ...

    @property
    def finished(self) -> bool:
        """Whether the body may end here."""
        ...


class Identity:
    """A `Decoder` that passes bytes through."""

    finished = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See `Decoder.feed`."""
        yield data


class Decompression:
    """A `Decoder` of one content coding.

    Args:
        coding: a key of `CODINGS`.
        host: of the response, for messages.
    """

    def __init__(self, coding: str, host: str) -> None:
        self._coding = coding
        self._host = host
        self._stream = CODINGS[coding]()
        self._bytes_in = 0
        self._bytes_out = 0

    @property
    def finished(self) -> bool:
        """See `Decoder.finished`."""
        return self._stream.finished

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See `Decoder.feed`."""
        self._bytes_in += len(data)
        chunks = self._stream.chunks(data)
        while (chunk := self._next(chunks)) is not None:
            self._bytes_out += len(chunk)
            if self._bytes_out > max(GROWTH_FREE_BYTES, GROWTH_MAX * self._bytes_in):
                raise self._invalid("its compression ratio is too high for media")
            yield chunk

    def _next(self, chunks: Iterator[bytes]) -> bytes | None:
        try:
            return next(chunks, None)
        except (zlib.error, brotli.error, zstd.ZstdError, _TrailingDataError) as error:
            raise self._invalid(str(error)[:200]) from None

    def _invalid(self, reason: str) -> ClipmillError:
        return ClipmillError(
            ErrorCode.NETWORK_SERVER,
            f"{self._host} compressed the media ({self._coding}), which was not requested,"
            f" and it cannot be decoded: {reason}",
        )


class _TrailingDataError(Exception):
    """There is data after the end of the body, or there are too many members."""


class _Stream(Protocol):
    @property
    def finished(self) -> bool: ...

    def chunks(self, data: bytes) -> Iterator[bytes]: ...


class _Deflate:
    """``deflate`` in a zlib frame (RFC 9110, 8.4.1.2), or raw, as some servers send it."""

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None

    @property
    def finished(self) -> bool:
        return self._inflate is not None and self._inflate.eof

    def chunks(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        if self._inflate is None:
            framed = data[0] & 0x0F == _DEFLATE_METHOD
            self._inflate = zlib.decompressobj(_ZLIB_BITS if framed else _RAW_DEFLATE_BITS)
        if self._inflate.eof:
            raise _TrailingDataError("data follows its end")
        yield from _inflate_chunks(self._inflate, data)
        if self._inflate.unused_data:
            raise _TrailingDataError("data follows its end")


class _Members(ABC):
    """A body of one or more members (frames), each with a decoder object of its own."""

    def __init__(self) -> None:
        self._inflate: Any = self._new_member()
        self._members = 1

    @property
    def finished(self) -> bool:
        return bool(self._inflate.eof)

    def chunks(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate.eof:
                if self._members == MEMBERS_MAX:
                    raise _TrailingDataError(f"it has more than {MEMBERS_MAX} members")
                self._members += 1
                self._inflate = self._new_member()
            yield from self._chunks_of_member(data)
            data = self._inflate.unused_data

    @abstractmethod
    def _new_member(self) -> Any: ...

    @abstractmethod
    def _chunks_of_member(self, data: bytes) -> Iterator[bytes]: ...


class _Gzip(_Members):
    """``gzip``, RFC 1952."""

    def _new_member(self) -> Any:
        return zlib.decompressobj(_GZIP_BITS)

    def _chunks_of_member(self, data: bytes) -> Iterator[bytes]:
        return _inflate_chunks(self._inflate, data)


class _Zstd(_Members):
    """``zstd``, RFC 8878."""

    def _new_member(self) -> Any:
        window = {int(zstd.DecompressionParameter.window_log_max): _ZSTD_WINDOW_LOG_MAX}
        return zstd.ZstdDecompressor(options=window)

    def _chunks_of_member(self, data: bytes) -> Iterator[bytes]:
        yield self._inflate.decompress(data, CHUNK_BYTES)
        while not self._inflate.eof and not self._inflate.needs_input:
            yield self._inflate.decompress(b"", CHUNK_BYTES)


class _Brotli:
    def __init__(self) -> None:
        self._inflate = brotli.Decompressor()

    @property
    def finished(self) -> bool:
        return bool(self._inflate.is_finished())

    def chunks(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        if self.finished:
            raise _TrailingDataError("data follows its end")
        yield self._inflate.process(data, output_buffer_limit=CHUNK_BYTES)
        while not self._inflate.can_accept_more_data():
            yield self._inflate.process(b"", output_buffer_limit=CHUNK_BYTES)


CODINGS: dict[str, type[_Stream]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
"""By the name in ``Content-Encoding``."""


def decoder_of(coding: str | None, host: str) -> Decoder:
    """Return a decoder for a key of `CODINGS`, or for None (identity)."""
    return Identity() if coding is None else Decompression(coding, host)


def _inflate_chunks(inflate: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    while data or not inflate.eof:
        chunk = inflate.decompress(data, CHUNK_BYTES)
        data = inflate.unconsumed_tail
        if not chunk and not data:
            return
        yield chunk
