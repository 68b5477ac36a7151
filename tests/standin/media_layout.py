"""Pads a small file to its size with bytes that a decoder skips.

Any byte range of a file of any size is generated without the bytes before it, and without holding
more than a few hundred KiB.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tests.standin.media_encoding import encoded
from tests.standin.media_shapes import Shape

BLOCK_BYTES = 64 * 1024
# Whole blocks, so that all inner chunks of a padding share the same memory.
CHUNK_BYTES = 4 * BLOCK_BYTES
_COMMENT_BYTES = 65_533
_COMMENT_HEAD_BYTES = 4
_BOX_HEAD_BYTES = 16


@dataclass(frozen=True, slots=True)
class Padding:
    """Padding of seeded bytes."""

    length: int


Part = bytes | Padding


def layout(shape: Shape, size: int) -> tuple[Part, ...]:
    """The parts of a file of this shape and size.

    A file too small for its content is truncated, and cannot be decoded.
    """
    core = encoded(shape)
    if len(core) + _BOX_HEAD_BYTES > size:
        return (core[:size], Padding(max(0, size - len(core))))
    room = size - len(core)
    match shape.kind:
        case "picture":
            return (core[:2], *_comments(room), core[2:])
        case "page":
            return (core, Padding(room))
    return (core, *_free_box(room))


def pieces(parts: tuple[Part, ...], ring: memoryview, start: int, end: int) -> Iterator[memoryview]:
    """The bytes from ``start`` to ``end`` in chunks of at most `CHUNK_BYTES`.

    Args:
        parts: Of the file.
        ring: `CHUNK_BYTES` of identical blocks, and one block more.
        start: The first byte.
        end: The byte after the last.
    """
    offset = 0
    for part in parts:
        length = part.length if isinstance(part, Padding) else len(part)
        first, last = max(start - offset, 0), min(end - offset, length)
        offset += length
        if first >= last:
            continue
        if isinstance(part, Padding):
            yield from _padding(ring, first, last)
        else:
            yield from _sliced(memoryview(part), first, last)


def _padding(ring: memoryview, first: int, last: int) -> Iterator[memoryview]:
    while first < last:
        phase = first % BLOCK_BYTES
        count = min(CHUNK_BYTES, last - first)
        yield ring[phase : phase + count]
        first += count


def _sliced(part: memoryview, first: int, last: int) -> Iterator[memoryview]:
    for start in range(first, last, CHUNK_BYTES):
        yield part[start : min(start + CHUNK_BYTES, last)]


def _free_box(room: int) -> tuple[Part, ...]:
    """A box that players skip (ISO/IEC 14496-12, 8.1.2), with a 64-bit size."""
    return (struct.pack(">I4sQ", 1, b"free", room), Padding(room - _BOX_HEAD_BYTES))


def _comments(room: int) -> Iterator[Part]:
    """Comments (ITU-T T.81, B.2.4.5) of ``room`` bytes in total."""
    while room:
        taken = min(room, _COMMENT_BYTES + _COMMENT_HEAD_BYTES)
        if 0 < room - taken < _COMMENT_HEAD_BYTES:
            taken -= _COMMENT_HEAD_BYTES
        yield struct.pack(">HH", 0xFFFE, taken - 2)
        yield Padding(taken - _COMMENT_HEAD_BYTES)
        room -= taken
