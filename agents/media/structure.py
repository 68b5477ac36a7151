"""Checks of a file's structure before it is decoded: truncation, and JPEG decompression bombs.

Decoders tolerate truncation: a truncated JPEG is shown grey from there on, a truncated MP4 stops
early. Formats without a declared end (MP3, ADTS, MPEG-TS) are never reported as truncated; data
after the end, as cameras append it to pictures, is ignored.

A progressive JPEG consists of scans, each of which covers the whole picture. An empty scan takes a
dozen bytes of the file and as much decoder time as any other, so that a small file can keep the
decoder busy for minutes.
"""

import os
import re
import struct
from collections.abc import Callable
from io import FileIO
from typing import BinaryIO

SEARCHED_BYTES_MAX = 64 * 2**20
"""Limit for JPEG and GIF: more than a picture of 100 megapixels has. Larger ones are not checked;
only the timeout of a probe protects from their scans beyond it."""

SCANS_MAX = 100
"""Encoders make about 10 (`jpeg_simple_progression` in jcparam.c of libjpeg)."""

STEPS_MAX = 1_000_000
"""Limit of boxes, chunks or segments per file; a file with more counts as complete."""

_JPEG, _PNG, _RIFF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF"
_GIFS = (b"GIF87a", b"GIF89a")
_BOX_TYPES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide"})
"""First boxes of MP4, QuickTime and HEIF files (ISO/IEC 14496-12, 4.2)."""

_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""Within a scan, 0xFF is followed by 0 or a restart marker (ITU-T T.81, B.1.1.2)."""

_JPEG_END, _JPEG_BARE = 0xD9, frozenset({0x01, 0xD8})
_UNKNOWN_SIZES = frozenset({0, 0xFFFFFFFF})
"""Sizes in the header of a RIFF that was streamed while it was recorded."""

_BOX_HEAD_BYTES, _LONG_BOX_HEAD_BYTES, _CHUNK_HEAD_BYTES = 8, 16, 8

_CHUNK_BYTES = 2**20
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
"""Header of a scan of 1 to 4 components: marker, length, number (ITU-T T.81, section B.2.3).

With length and number it does not occur by chance in data that cameras append to pictures; within a
scan, 0xFF is followed by 0 or a restart marker.
"""

File = FileIO | BinaryIO


def has_too_many_scans(file: File) -> bool:
    """Return whether this is a JPEG picture of more than `SCANS_MAX` scans. Rewinds the file."""
    file.seek(0)
    try:
        return file.read(2) == _JPEG[:2] and _count_scans(file) > SCANS_MAX
    finally:
        file.seek(0)


def _count_scans(file: File) -> int:
    """Return the number of scans; stops shortly after `SCANS_MAX`."""
    count, rest = 0, b""
    for _ in range(SEARCHED_BYTES_MAX // _CHUNK_BYTES):
        chunk = file.read(_CHUNK_BYTES)
        if not chunk or count > SCANS_MAX:
            break
        rest += chunk
        count += len(_SCAN.findall(rest))
        rest = rest[-4:]  # one byte less than the pattern: a header may span two chunks
    return count


def is_truncated(file: File) -> bool:
    """Return whether the file is shorter than its structure declares. Rewinds it."""
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        check = _check_of(file.read(_LONG_BOX_HEAD_BYTES))
        return check is not None and check(file, size)
    finally:
        file.seek(0)


def _check_of(head: bytes) -> Callable[[File, int], bool] | None:
    if head[4:8] in _BOX_TYPES:
        return _is_mp4_truncated
    return next((check for start, check in _CHECKS if head.startswith(start)), None)


def _is_mp4_truncated(file: File, size: int) -> bool:
    """Walk the top-level boxes by their sizes."""
    offset = 0
    for _ in range(STEPS_MAX):
        if offset >= size:
            return offset > size
        file.seek(offset)
        head = file.read(_LONG_BOX_HEAD_BYTES)
        if len(head) < _BOX_HEAD_BYTES:
            # Up to seven bytes after the last box: zero padding, or a truncated box.
            return any(head)
        (length,) = struct.unpack(">I", head[:4])
        if length == 1 and len(head) == _LONG_BOX_HEAD_BYTES:
            (length,) = struct.unpack(">Q", head[8:])
        if length < _BOX_HEAD_BYTES:  # 0: up to the end of the file; else invalid
            return False
        offset += length
    return False


def _is_riff_truncated(file: File, size: int) -> bool:
    file.seek(4)
    length = int.from_bytes(file.read(4), "little")
    return length not in _UNKNOWN_SIZES and length + 8 > size


def _is_png_truncated(file: File, size: int) -> bool:
    """Walk the chunks: length, type, data and checksum each."""
    offset = len(_PNG)
    for _ in range(STEPS_MAX):
        file.seek(offset)
        head = file.read(_CHUNK_HEAD_BYTES)
        if len(head) < _CHUNK_HEAD_BYTES:
            return True
        offset += int.from_bytes(head[:4], "big") + 12
        if offset > size or head[4:] == b"IEND":
            return offset > size
    return False


def _is_jpeg_truncated(file: File, size: int) -> bool:
    """Walk the segments; after each, also within a scan, search for the next marker."""
    if size > SEARCHED_BYTES_MAX:
        return False
    file.seek(0)
    body, offset = file.read(SEARCHED_BYTES_MAX), 0
    for _ in range(STEPS_MAX):
        found = _MARKER.search(body, offset)
        if found is None:
            return True
        marker, offset = found[1][0], found.end()
        if marker == _JPEG_END:
            return False
        if marker not in _JPEG_BARE:
            offset += int.from_bytes(body[offset : offset + 2].ljust(2, b"\0"), "big")
    return False


def _is_gif_truncated(file: File, size: int) -> bool:
    """Walk the blocks. Many GIFs lack the trailer byte, so only a truncated block counts."""
    if size > SEARCHED_BYTES_MAX:
        return False
    file.seek(0)
    body = file.read(SEARCHED_BYTES_MAX)
    offset = 13 + _color_table(body[10:11])
    for _ in range(STEPS_MAX):
        if offset == len(body) or body[offset : offset + 1] == b"\x3b":
            return False
        match body[offset : offset + 1]:
            case b"\x21":
                offset += 2
            case b"\x2c":
                offset += 11 + _color_table(body[offset + 9 : offset + 10])
            case b"":
                return True
            case _:
                return False
        while count := _byte(body, offset):
            offset += count + 1
        offset += 1
    return False


def _color_table(flags: bytes) -> int:
    packed = flags[0] if flags else 0
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0


def _byte(body: bytes, offset: int) -> int:
    return body[offset] if offset < len(body) else 0


_CHECKS: tuple[tuple[bytes, Callable[[File, int], bool]], ...] = (
    (_JPEG, _is_jpeg_truncated),
    (_PNG, _is_png_truncated),
    (_RIFF, _is_riff_truncated),
    *((start, _is_gif_truncated) for start in _GIFS),
)
