"""Extractions as rows: compressed, with their end and meaning in front so that both are cheap.

A row is one byte of format, then ``>d8s``: the epoch second up to which it may be used and the
digest of the settings that it was made under; then zlib's format (RFC 1950) of the extraction's
JSON. Pages of a platform are much alike, so zlib is given a preset dictionary: a typical row of a
video and of a photo post. The stream carries the checksum of its dictionary; with another one it
cannot be read, and is then read anew from the page.

Measured with zlib's levels, brotli and zstd (docs/caching.md): zstd with a dictionary would be
a fifth smaller and save 30 µs of the 9 ms that an extraction takes, and be one more dependency.
"""

import math
import struct
import zlib
from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import msgspec

from agents.caching.interface import Level
from agents.caching.ttl_lru import BoundedCache
from agents.engine.results import COOKIES_BYTES_MAX, RESULT_BYTES_MAX
from schemas.codec import MalformedMessageError, decode, encode
from schemas.video import Extraction

FORMAT = 1
"""A change of the layout or of the dictionary is another format. Others are not read."""

DICTIONARY = "dictionary-1.txt"
"""At most 32 KiB, what zlib can look back. Never to be changed: a new one gets a new name."""

LEVEL = 3
"""Half the time of level 6 and a sixth larger."""

MEMORY_LEVEL = 9
"""zlib's ``memLevel``: of a few hundred KB, while a row is compressed."""

JSON_BYTES_MAX = RESULT_BYTES_MAX + COOKIES_BYTES_MAX + 1_000
"""Of one extraction, its versions and moment included. A row that unpacks to more is not ours."""

MEANING_BYTES = 8

_HEAD = struct.Struct(f">Bd{MEANING_BYTES}s")

_END = struct.Struct(">d")


class UnreadableRowError(ValueError):
    """A row is not of this format; it is to be treated as missing."""


class CachedExtraction(msgspec.Struct, frozen=True, kw_only=True):
    """A row: an extraction, the epoch second up to which it may be used, and what it means.

    Attributes:
        meaning: digest of the settings that decide what a page says; `MEANING_BYTES` long.
    """

    expires_at: float
    extraction: Extraction
    meaning: bytes = bytes(MEANING_BYTES)


def pack(entry: CachedExtraction) -> bytes:
    """Return the row of an entry."""
    packer = zlib.compressobj(
        LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, _dictionary()
    )
    body = packer.compress(encode(entry.extraction)) + packer.flush()
    return _HEAD.pack(FORMAT, entry.expires_at, entry.meaning) + body


def unpack(row: bytes) -> CachedExtraction:
    """Return the entry of a row, whoever wrote it.

    Raises:
        UnreadableRowError: it is of another format, damaged, or too large.
    """
    end, meaning = _head(row)
    try:
        extraction = decode(_inflate(row[_HEAD.size :]), Extraction)
    except MalformedMessageError as error:
        raise UnreadableRowError(str(error)) from None
    return CachedExtraction(expires_at=end, extraction=extraction, meaning=meaning)


def end_of_packed(row: bytes) -> float:
    """Return the epoch second up to which a row may be used, 0 when nobody can read it."""
    if len(row) < _HEAD.size or row[0] != FORMAT:
        return 0.0
    end: float = _END.unpack_from(row, 1)[0]
    return end if math.isfinite(end) else 0.0


def _head(row: bytes) -> tuple[float, bytes]:
    if len(row) < _HEAD.size or row[0] != FORMAT:
        raise UnreadableRowError("not a row of this format")
    _, end, meaning = _HEAD.unpack_from(row)
    if not math.isfinite(end):
        raise UnreadableRowError("it has no end")
    return end, meaning


def _inflate(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS, _dictionary())
    try:
        text = unpacker.decompress(body, JSON_BYTES_MAX)
    except zlib.error as error:
        raise UnreadableRowError(str(error)) from None
    if not unpacker.eof:
        raise UnreadableRowError("cut off, or too large")
    return text


@cache
def _dictionary() -> bytes:
    return (files(__package__) / DICTIONARY).read_bytes()


DECODED_BYTES = 1_100
"""Of memory for the objects of a decoded row with one cookie, beside its text. Measured."""


class Decoded(NamedTuple):
    """A row, by which it is recognised, and what it says."""

    row: bytes
    entry: CachedExtraction


class Opened(NamedTuple):
    """What a row says, and whether that was known in ``front`` or read from the ``table``."""

    entry: CachedExtraction
    level: Level


def size_of(key: str, decoded: Decoded) -> int:
    """Return the bytes of a decoded row; the row itself belongs to the table."""
    return len(key) + memoryview(decoded.entry.extraction.raw).nbytes + DECODED_BYTES


class DecodedRows:
    """What rows say.

    Args:
        store: keeps it; made with `size_of`.
    """

    def __init__(self, store: BoundedCache[str, Decoded]) -> None:
        self._store = store

    def open(self, key: str, row: bytes) -> Opened | None:
        """Return what a row says, None when it cannot be read: an older version wrote it."""
        known = self._store.peek(key)
        if known is not None and known.row == row:
            return Opened(known.entry, "front")
        with suppress(UnreadableRowError):
            entry = unpack(row)
            self._store.set(key, Decoded(row, entry))
            return Opened(entry, "table")
        return None
