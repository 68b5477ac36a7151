"""Record batches on the broker's disk, changed while the broker is stopped."""

import struct
from collections.abc import Iterator
from pathlib import Path

OVERHEAD_BYTES = 12
"""Base offset and length in front of a batch."""


def segment_of(kafka_dir: Path, topic: str, partition: int) -> Path:
    """Return the file with the newest records of a partition."""
    [found] = kafka_dir.rglob(f"{topic}-{partition}")
    return max(found.glob("*.log"))


def batches(segment: Path) -> Iterator[tuple[int, bytes]]:
    """Iterate over the batches of a segment, each with its place in the file."""
    data, position = segment.read_bytes(), 0
    while position + OVERHEAD_BYTES < len(data):
        (length,) = struct.unpack_from(">i", data, position + 8)
        if length <= 0:
            return
        yield position, data[position : position + OVERHEAD_BYTES + length]
        position += OVERHEAD_BYTES + length


def overwrite(segment: Path, position: int, data: bytes) -> None:
    """Write bytes over those at a place in a segment."""
    with segment.open("r+b") as file:
        file.seek(position)
        file.write(data)
