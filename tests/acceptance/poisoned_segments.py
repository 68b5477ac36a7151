"""Reads and corrupts record batches in the broker's segment files while the broker is stopped."""

import struct
from collections.abc import Iterator
from pathlib import Path

OVERHEAD_BYTES = 12
"""Base offset and length in front of a batch."""


def segment_of(kafka_dir: Path, topic: str, partition: int) -> Path:
    """Return the newest segment file of a partition."""
    [found] = kafka_dir.rglob(f"{topic}-{partition}")
    return max(found.glob("*.log"))


def batches(segment: Path) -> Iterator[tuple[int, bytes]]:
    """Iterate over the record batches of a segment, each with its position in the file."""
    data, position = segment.read_bytes(), 0
    while position + OVERHEAD_BYTES < len(data):
        (length,) = struct.unpack_from(">i", data, position + 8)
        if length <= 0:
            return
        yield position, data[position : position + OVERHEAD_BYTES + length]
        position += OVERHEAD_BYTES + length


def overwrite(segment: Path, position: int, data: bytes) -> None:
    """Overwrite bytes of a segment from a position on."""
    with segment.open("r+b") as file:
        file.seek(position)
        file.write(data)
