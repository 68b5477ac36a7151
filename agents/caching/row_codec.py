"""Codec of extraction rows: a fixed header, then the extraction's JSON, compressed.

A row is one byte of format, then ``>d8s``: expiry (epoch second) and config fingerprint, both
readable without decompression; then a zlib stream (RFC 1950). Pages of a platform are much alike,
so zlib uses a preset dictionary: a typical row of a video and of a photo post. The stream carries
the checksum of its dictionary; with another one it does not decode, which counts as a miss.

Measured against zlib's levels, brotli and zstd (docs/caching.md): zstd with a dictionary saves
60 µs of the 9 ms of an extraction and no bytes, and would be one more dependency.
"""

import math
import struct
import zlib
from functools import cache
from importlib.resources import files

import msgspec

from agents.engine.results import COOKIES_BYTES_MAX, RESULT_BYTES_MAX
from schemas.codec import MalformedMessageError, decode, encode
from schemas.video import Extraction

FORMAT = 1
"""To be raised with each change of layout or dictionary. Rows of other formats are rejected."""

DICTIONARY = "dictionary-1.txt"
"""At most 32 KiB, zlib's window. Never to be changed: a new one gets a new name."""

LEVEL = 3
"""zlib level: half the time of level 6, and rows a sixth larger."""

MEMORY_LEVEL = 9
"""zlib's ``memLevel``: a few hundred KB while a row is compressed."""

JSON_BYTES_MAX = RESULT_BYTES_MAX + COOKIES_BYTES_MAX + 1_000
"""Limit of an extraction's JSON, versions and time included. A row that inflates to more is
rejected."""

FINGERPRINT_BYTES = 8

_HEAD = struct.Struct(f">Bd{FINGERPRINT_BYTES}s")

_EXPIRY = struct.Struct(">d")


class UnreadableRowError(ValueError):
    """A row is foreign or damaged; it counts as a miss."""


class CachedExtraction(msgspec.Struct, frozen=True, kw_only=True):
    """An extraction with its expiry (epoch seconds).

    Attributes:
        fingerprint: of the settings that the extraction depends on; `FINGERPRINT_BYTES` long.
    """

    expires_at: float
    extraction: Extraction
    fingerprint: bytes = bytes(FINGERPRINT_BYTES)


def pack(entry: CachedExtraction) -> bytes:
    packer = zlib.compressobj(
        LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, _dictionary()
    )
    body = packer.compress(encode(entry.extraction)) + packer.flush()
    return _HEAD.pack(FORMAT, entry.expires_at, entry.fingerprint) + body


def unpack(row: bytes) -> CachedExtraction:
    """Decode a row; safe for untrusted input.

    Raises:
        UnreadableRowError: it is of another format, damaged, or too large.
    """
    if len(row) < _HEAD.size or row[0] != FORMAT:
        raise UnreadableRowError("not a row of this format")
    _, expires_at, fingerprint = _HEAD.unpack_from(row)
    if not math.isfinite(expires_at):
        raise UnreadableRowError("it is truncated")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS, _dictionary())
    try:
        text = unpacker.decompress(row[_HEAD.size :], JSON_BYTES_MAX)
        if not unpacker.eof:
            raise UnreadableRowError("truncated, or too large")
        extraction = decode(text, Extraction)
    except (zlib.error, MalformedMessageError) as error:
        raise UnreadableRowError(str(error)) from None
    return CachedExtraction(expires_at=expires_at, extraction=extraction, fingerprint=fingerprint)


def expiry_of_packed(row: bytes) -> float:
    """Return the expiry (epoch seconds) of a row without decompression, 0 if it is unreadable."""
    if len(row) < _HEAD.size or row[0] != FORMAT:
        return 0.0
    expires_at: float = _EXPIRY.unpack_from(row, 1)[0]
    return expires_at if math.isfinite(expires_at) else 0.0


@cache
def _dictionary() -> bytes:
    return (files(__package__) / DICTIONARY).read_bytes()
