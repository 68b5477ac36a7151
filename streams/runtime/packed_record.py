"""A compressed copy of a record, for records that wait long."""

import zlib
from dataclasses import dataclass
from typing import Self

import msgspec

from streams.records import Incoming

LEVEL = 1
"""zlib's fastest level: events shrink to a half or less in 0.03 ms, 16 KB in 0.15 ms."""

Parts = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]
"""Key, value and headers. Header objects are two thirds of a record's memory."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Parts).decode


@dataclass(frozen=True, slots=True)
class PackedRecord:
    """An `Incoming` with key, value and headers compressed."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    packed: bytes

    @classmethod
    def of(cls, record: Incoming) -> Self:
        packed = zlib.compress(_encode((record.key, record.value, record.headers)), LEVEL)
        return cls(record.topic, record.partition, record.offset, record.timestamp, packed)

    def unpack(self) -> Incoming:
        key, value, headers = _decode(zlib.decompress(self.packed))
        return Incoming(
            self.topic,
            self.partition,
            self.offset,
            key,
            value,
            headers,
            self.timestamp,
        )
