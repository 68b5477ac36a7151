"""Counts the scans of a JPEG picture before anything decodes it.

A progressive picture comes in scans, each of which goes over the whole picture again. A scan that
says nothing takes a dozen bytes of the file and as much time of the decoder as any other, so that
a small file can keep the decoder busy for minutes.
"""

import re
from io import FileIO
from typing import BinaryIO

SCANS_MAX = 100
"""Encoders make about 10 (`jpeg_simple_progression` in jcparam.c of libjpeg)."""

SEARCHED_BYTES_MAX = 64 * 2**20
"""More than a picture of 100 megapixels has. Whatever follows, the time limit of a look holds."""

_PIECE_BYTES = 2**20
_START = b"\xff\xd8"
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
"""The head of a scan of 1 to 4 components: marker, length, number (ITU-T T.81, section B.2.3).

With its length and number, it does not come up by chance in what cameras append to pictures; and
within a scan 0xFF is followed by 0 or the number of a restart.
"""


def has_too_many_scans(file: FileIO | BinaryIO) -> bool:
    """Return whether this is a JPEG picture of more than `SCANS_MAX` scans. Rewinds the file."""
    file.seek(0)
    try:
        return file.read(len(_START)) == _START and _count(file) > SCANS_MAX
    finally:
        file.seek(0)


def _count(file: FileIO | BinaryIO) -> int:
    """Return how many scans there are, counting no further once there are too many."""
    count, rest = 0, b""
    for _ in range(SEARCHED_BYTES_MAX // _PIECE_BYTES):
        piece = file.read(_PIECE_BYTES)
        if not piece or count > SCANS_MAX:
            break
        rest += piece
        count += len(_SCAN.findall(rest))
        rest = rest[-4:]  # a head has 5
    return count
