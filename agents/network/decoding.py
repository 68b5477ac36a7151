"""Decodes media bodies that a server compressed although identity was asked for, piece by piece.

Bounds: a piece has at most `PIECE_BYTES`, whatever the input is, and a body may not grow out of
all proportion. The caller bounds the size of the whole.
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

PIECE_BYTES = 256 * 1024
"""Of decoded data at a time: what inflating it takes (1 ms) nothing else in the process notices."""

GROWTH_MAX = 20
"""Media is compressed already, and grows by next to nothing; zeros grow a thousandfold."""

GROWTH_FREE_BYTES = 16 * 2**20
"""Up to here a body may grow as it likes: a black picture without compression does so."""

MEMBERS_MAX = 10_000
"""Of one body. Each may be empty, and takes time all the same."""

_ZSTD_WINDOW_LOG_MAX = 23
"""8 MiB of memory, which is what a sender may expect (RFC 9659)."""

_GZIP_BITS, _ZLIB_BITS, _RAW_DEFLATE_BITS = 31, 15, -15
_DEFLATE_METHOD = 8


class Decoder(Protocol):
    """Turns the bytes of one body into what they stand for. Used once."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the next decoded bytes in pieces. To be exhausted.

        Raises:
            ClipmillError: ``network.server``; it is not what the server says, or a bomb.
        """
        ...

    @property
    def finished(self) -> bool:
        """Whether the body may end here."""
        ...


class Identity:
    """Hands bodies on as they come."""

    finished = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See `Decoder.feed`."""
        yield data


class Decompression:
    """A `Decoder` of one content coding.

    Args:
        coding: a key of `CODINGS`.
        host: who sent it, for messages.
    """

    def __init__(self, coding: str, host: str) -> None:
        self._coding = coding
        self._host = host
        self._stream = CODINGS[coding]()
        self._taken = 0
        self._given = 0

    @property
    def finished(self) -> bool:
        """See `Decoder.finished`."""
        return self._stream.finished

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See `Decoder.feed`."""
        self._taken += len(data)
        pieces = self._stream.pieces(data)
        while (piece := self._next(pieces)) is not None:
            self._given += len(piece)
            if self._given > max(GROWTH_FREE_BYTES, GROWTH_MAX * self._taken):
                raise self._broken("it grows more than media does")
            yield piece

    def _next(self, pieces: Iterator[bytes]) -> bytes | None:
        try:
            return next(pieces, None)
        except (zlib.error, brotli.error, zstd.ZstdError, _SurplusError) as error:
            raise self._broken(str(error)[:200]) from None

    def _broken(self, reason: str) -> ClipmillError:
        return ClipmillError(
            ErrorCode.NETWORK_SERVER,
            f"{self._host} compressed the media ({self._coding}), which was not asked for,"
            f" and it cannot be decoded: {reason}",
        )


class _SurplusError(Exception):
    """There is more behind the end than there may be."""


class _Stream(Protocol):
    @property
    def finished(self) -> bool: ...

    def pieces(self, data: bytes) -> Iterator[bytes]: ...


class _Deflate:
    """``deflate`` in zlib's frame (RFC 9110, 8.4.1.2), or without, as some servers send it."""

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None

    @property
    def finished(self) -> bool:
        return self._inflate is not None and self._inflate.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        if self._inflate is None:
            framed = data[0] & 0x0F == _DEFLATE_METHOD
            self._inflate = zlib.decompressobj(_ZLIB_BITS if framed else _RAW_DEFLATE_BITS)
        if self._inflate.eof:
            raise _SurplusError("there is more behind its end")
        yield from _inflated(self._inflate, data)
        if self._inflate.unused_data:
            raise _SurplusError("there is more behind its end")


class _Members(ABC):
    """A body of one member (a frame) or several, each decoded by an object of its own."""

    def __init__(self) -> None:
        self._inflate: Any = self._new_member()
        self._members = 1

    @property
    def finished(self) -> bool:
        return bool(self._inflate.eof)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate.eof:
                if self._members == MEMBERS_MAX:
                    raise _SurplusError(f"it has more than {MEMBERS_MAX} members")
                self._members += 1
                self._inflate = self._new_member()
            yield from self._pieces_of_member(data)
            data = self._inflate.unused_data

    @abstractmethod
    def _new_member(self) -> Any: ...

    @abstractmethod
    def _pieces_of_member(self, data: bytes) -> Iterator[bytes]: ...


class _Gzip(_Members):
    """``gzip``, RFC 1952."""

    def _new_member(self) -> Any:
        return zlib.decompressobj(_GZIP_BITS)

    def _pieces_of_member(self, data: bytes) -> Iterator[bytes]:
        return _inflated(self._inflate, data)


class _Zstd(_Members):
    """``zstd``, RFC 8878."""

    def _new_member(self) -> Any:
        window = {int(zstd.DecompressionParameter.window_log_max): _ZSTD_WINDOW_LOG_MAX}
        return zstd.ZstdDecompressor(options=window)

    def _pieces_of_member(self, data: bytes) -> Iterator[bytes]:
        yield self._inflate.decompress(data, PIECE_BYTES)
        while not self._inflate.eof and not self._inflate.needs_input:
            yield self._inflate.decompress(b"", PIECE_BYTES)


class _Brotli:
    def __init__(self) -> None:
        self._inflate = brotli.Decompressor()

    @property
    def finished(self) -> bool:
        return bool(self._inflate.is_finished())

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        if self.finished:
            raise _SurplusError("there is more behind its end")
        yield self._inflate.process(data, output_buffer_limit=PIECE_BYTES)
        while not self._inflate.can_accept_more_data():
            yield self._inflate.process(b"", output_buffer_limit=PIECE_BYTES)


CODINGS: dict[str, type[_Stream]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
"""By the name in ``Content-Encoding``."""


def decoder_of(coding: str | None, host: str) -> Decoder:
    """Return a decoder of a key of `CODINGS`; None stands for identity."""
    return Identity() if coding is None else Decompression(coding, host)


def _inflated(inflate: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    while data or not inflate.eof:
        piece = inflate.decompress(data, PIECE_BYTES)
        data = inflate.unconsumed_tail
        if not piece and not data:
            return
        yield piece
