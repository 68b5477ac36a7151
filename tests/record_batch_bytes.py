"""Record batches as bytes: good ones, and every kind that cannot be decoded."""

import struct
import zlib
from collections.abc import Callable

import cramjam
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
HEADER_BYTES = 61
Header = tuple[str, bytes]


def batch(
    *values: bytes | None,
    base: int = 0,
    codec: int = NONE,
    headers: dict[int, list[Header]] | None = None,
    producer: int = -1,
) -> bytes:
    """Return a batch of records with these values."""
    builder = _DefaultRecordBatchBuilderPy(
        2, codec, int(producer >= 0), producer, 0 if producer >= 0 else -1, 0, 1_000_000
    )
    for offset, value in enumerate(values):
        own = (headers or {}).get(offset, [])
        builder.append(offset, timestamp=1_000, key=b"k", value=value, headers=own)
    return struct.pack(">q", base) + bytes(builder.build())[8:]


def edited(data: bytes, **fields: int) -> bytes:
    """Return a batch with other values in its header, its CRC right."""
    places = {"length": (8, ">i"), "magic": (16, ">b"), "attributes": (21, ">h")}
    places |= {"last_offset_delta": (23, ">i"), "count": (57, ">i")}
    changed = bytearray(data)
    for name, value in fields.items():
        place, form = places[name]
        struct.pack_into(form, changed, place, value)
    return with_crc(bytes(changed))


def with_crc(data: bytes) -> bytes:
    crc = struct.pack(">I", calc_crc32c(data[21:]))
    return data[:17] + crc + data[21:]


def with_records(data: bytes, records: bytes, codec: int) -> bytes:
    """Return a batch with other records, as they stand on the wire."""
    whole = data[:HEADER_BYTES] + records
    whole = whole[:8] + struct.pack(">i", len(whole) - 12) + whole[12:]
    return edited(whole, attributes=codec)


def marker(base: int, producer: int, *, commit: bool) -> bytes:
    """Return the control batch that ends a transaction."""
    builder = _DefaultRecordBatchBuilderPy(2, NONE, 1, producer, 0, -1, 1_000)
    builder.append(
        0, timestamp=1_000, key=struct.pack(">hh", 0, int(commit)), value=bytes(6), headers=[]
    )
    data = struct.pack(">q", base) + bytes(builder.build())[8:]
    return edited(data, attributes=0x30)


def bomb(codec: int, compress: Callable[[bytes], bytes], size: int) -> bytes:
    return with_records(batch(b"x"), compress(bytes(size)), codec)


def gzip(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, wbits=31)
    return compressor.compress(data) + compressor.flush()


GOOD = batch(b"a", b"b", b"c", base=5)


def flipped(data: bytes, place: int = -3) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 0xFF
    return bytes(changed)


def _compressed(codec: int) -> bytes:
    return batch(b"a" * 300, b"b" * 300, b"c" * 300, base=5, codec=codec)


def damaged(codec: int) -> bytes:
    """Return a compressed batch whose compressed bytes are damaged, its CRC right."""
    return with_records(_compressed(codec), b"\x82SNAPPY\x00" + bytes(range(60, 120)), codec)


UNDECODABLE: dict[str, bytes] = {
    "wrong CRC": flipped(GOOD),
    "unknown codec 5": edited(GOOD, attributes=5),
    "unknown codec 7": edited(GOOD, attributes=7),
    "future magic": edited(GOOD, magic=3),
    "magic 127": edited(GOOD, magic=127),
    "more records than bytes": edited(GOOD, count=9),
    "fewer records than bytes": edited(GOOD, count=1),
    "negative record length": with_records(GOOD, b"\x01" + GOOD[HEADER_BYTES + 1 :], NONE),
    "records are noise": with_records(GOOD, bytes(range(200, 250)), NONE),
    "damaged gzip": damaged(GZIP),
    "damaged snappy": damaged(SNAPPY),
    "damaged lz4": damaged(LZ4),
    "damaged zstd": damaged(ZSTD),
    "gzip that ends too early": with_records(_compressed(GZIP), gzip(b"a" * 900)[:20], GZIP),
    "records are no lz4 frame": with_records(GOOD, GOOD[HEADER_BYTES:], LZ4),
}
"""Batches with the offsets 5 to 7; a reader can see where they end."""

DECODED_BYTES = 64 * 2**20
BOMBS: dict[str, Callable[[int], bytes]] = {
    "gzip": lambda size: bomb(GZIP, gzip, size),
    "snappy": lambda size: bomb(
        SNAPPY, lambda data: bytes(cramjam.snappy.compress_raw(data)), size
    ),
    "lz4": lambda size: bomb(LZ4, lambda data: bytes(cramjam.lz4.compress(data)), size),
    "zstd": lambda size: bomb(ZSTD, lambda data: bytes(cramjam.zstd.compress(data)), size),
}
