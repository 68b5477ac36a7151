"""Guard against JPEG decompression bombs: counts the scans before the picture is decoded.

A progressive picture consists of scans, each of which covers the whole picture. An empty scan takes
a dozen bytes of the file and as much decoder time as any other, so that a small file can keep the
decoder busy for minutes.
"""

import re
from io import FileIO
from typing import BinaryIO

SCANS_MAX = 100
"""Encoders make about 10 (`jpeg_simple_progression` in jcparam.c of libjpeg)."""

SEARCHED_BYTES_MAX = 64 * 2**20
"""More than a picture of 100 megapixels has. Beyond it, only the timeout of a probe protects."""

_CHUNK_BYTES = 2**20
_START = b"\xff\xd8"
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
"""Header of a scan of 1 to 4 components: marker, length, number (ITU-T T.81, section B.2.3).

With length and number it does not occur by chance in data that cameras append to pictures; within a
scan, 0xFF is followed by 0 or a restart marker.
"""


def has_too_many_scans(file: FileIO | BinaryIO) -> bool:
    """Return whether this is a JPEG picture of more than `SCANS_MAX` scans. Rewinds the file."""
    file.seek(0)
    try:
        return file.read(len(_START)) == _START and _count(file) > SCANS_MAX
    finally:
        file.seek(0)


def _count(file: FileIO | BinaryIO) -> int:
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
