"""Decodes one record batch within bounds: header, CRC, decompression, records.

Format: https://kafka.apache.org/documentation/#recordbatch
"""

import struct
import zlib
from collections.abc import Callable
from typing import Any

import cramjam
from aiokafka.codec import snappy_decode
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.legacy_records import LegacyRecordBatch

HEADER = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, two timestamps,
producer id, epoch and sequence, number of records."""

LENGTH_END = 12
MAGIC_BYTE = 16
LEGACY_MAGIC = 1
MAGIC = 2
CODEC_MASK = 0x07
DECODED_BYTES_MAX = 64 * 2**20
"""Limit of a batch's decompressed size. The largest legitimate one is 2 MiB on the wire; JSON
compresses to a tenth. Without a limit 2 MiB of zeros in zstd become 30 GiB."""

FIRST_BYTES = 256 * 1024
"""First guess of a decompressed size; it grows eightfold up to the limit."""


class BatchDecodeError(Exception):
    """A batch cannot be decoded; the text is the reason."""


# Decompression


def decompress(codec: int, data: memoryview) -> bytes:
    """Return the decompressed records of a batch.

    Raises:
        BatchDecodeError: unknown codec, damaged data, or larger than `DECODED_BYTES_MAX`.
    """
    decoder = _DECODERS.get(codec)
    if decoder is None:
        raise BatchDecodeError(f"unknown compression codec {codec}")
    name, decode = decoder
    try:
        return decode(data)
    except BatchDecodeError:
        raise
    except Exception as error:
        raise BatchDecodeError(f"damaged {name} data: {error}") from error


def _decompress_gzip(data: memoryview) -> bytes:
    decoder = zlib.decompressobj(wbits=31)
    decoded = decoder.decompress(data, DECODED_BYTES_MAX)
    if decoder.unconsumed_tail:
        raise _too_large()
    if not decoder.eof:
        raise BatchDecodeError("damaged gzip data: it ends too early")
    return decoded


def _decompress_snappy(data: memoryview) -> bytes:
    if _snappy_bytes(data) > DECODED_BYTES_MAX:
        raise _too_large()
    decoded: bytes = snappy_decode(data.tobytes())
    return decoded


XERIAL = b"\x82SNAPPY\x00"
XERIAL_HEADER_BYTES = 16


def _snappy_bytes(data: memoryview) -> int:
    """Return the decompressed size that the blocks of a snappy stream declare."""
    if bytes(data[: len(XERIAL)]) != XERIAL:
        return int(cramjam.snappy.decompress_raw_len(data))
    total, position = 0, XERIAL_HEADER_BYTES
    while position + 4 <= len(data):
        (length,) = struct.unpack_from(">i", data, position)
        position += 4
        if length < 0:
            raise BatchDecodeError(f"damaged snappy data: a block of {length} bytes")
        total += int(cramjam.snappy.decompress_raw_len(data[position : position + length]))
        position += length
    return total


def _bounded(decompress_into: Callable[[memoryview, bytearray], int]) -> Callable[..., bytes]:
    def decode(data: memoryview) -> bytes:
        size = max(FIRST_BYTES, 8 * len(data))
        while True:
            size = min(size, DECODED_BYTES_MAX)
            buffer = bytearray(size)
            try:
                return bytes(memoryview(buffer)[: decompress_into(data, buffer)])
            except cramjam.DecompressionError as error:
                # cramjam's only indication that the output buffer is too small.
                if "write whole buffer" not in str(error):
                    raise
                if size == DECODED_BYTES_MAX:
                    raise _too_large() from None
            size *= 8

    return decode


def _too_large() -> BatchDecodeError:
    return BatchDecodeError(f"decompressed it is larger than {DECODED_BYTES_MAX} bytes")


_DECODERS: dict[int, tuple[str, Callable[[memoryview], bytes]]] = {
    1: ("gzip", _decompress_gzip),
    2: ("snappy", _decompress_snappy),
    3: ("lz4", _bounded(cramjam.lz4.decompress_into)),
    4: ("zstd", _bounded(cramjam.zstd.decompress_into)),
}


# Batches


class _LenientBytes(bytearray):
    """Bytes whose slices decode to text, with escapes for invalid UTF-8: names of headers."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _LenientBytes(part) if isinstance(index, slice) else part

    def decode(self, *_: str) -> str:
        return super().decode("utf-8", "backslashreplace")


def _decode_leniently(data: bytes | memoryview) -> list[Any]:
    batch: Any = _DefaultRecordBatchPy(data)
    batch._buffer = _LenientBytes(batch._buffer)  # noqa: SLF001  (not configurable)
    batch._decompressed = True  # noqa: SLF001
    return list(batch)


def parse_batch(data: memoryview) -> Any:
    """Return the batch in these bytes, with its header and CRC checked.

    Raises:
        BatchDecodeError: the bytes are no valid batch.
    """
    if len(data) <= MAGIC_BYTE:
        raise BatchDecodeError(f"truncated: {len(data)} bytes")
    (length,) = struct.unpack_from(">i", data, 8)
    if len(data) != LENGTH_END + length:
        raise BatchDecodeError(f"truncated: {len(data)} bytes, its length field says {length}")
    magic = data[MAGIC_BYTE]
    if magic <= LEGACY_MAGIC:
        return _parse_legacy(data, magic)
    if magic != MAGIC:
        raise BatchDecodeError(f"unknown format version (magic) {magic}")
    if len(data) < HEADER.size:
        raise BatchDecodeError(f"truncated: {len(data)} bytes, a header has {HEADER.size}")
    batch = DefaultRecordBatch(data)
    if not batch.validate_crc():
        raise BatchDecodeError("wrong CRC")
    return batch


def _parse_legacy(data: memoryview, magic: int) -> Any:
    try:
        batch = LegacyRecordBatch(data, magic)
        if batch.validate_crc():
            return batch
    except Exception as error:
        raise BatchDecodeError(f"damaged message set: {error}") from error
    raise BatchDecodeError("wrong CRC")


def decode_records(data: memoryview, batch: Any) -> list[Any]:
    """Return the records of a batch; ``batch`` is the result of `parse_batch` for its bytes.

    Raises:
        BatchDecodeError: the records are damaged.
    """
    plain: bytes | memoryview = data
    if batch.compression_type:
        fields = list(HEADER.unpack_from(data))
        fields[5] &= ~CODEC_MASK
        plain = HEADER.pack(*fields) + decompress(batch.compression_type, data[HEADER.size :])
        batch = DefaultRecordBatch(plain)
    try:
        try:
            return list(batch)
        except UnicodeDecodeError:
            return _decode_leniently(plain)
    except Exception as error:
        raise BatchDecodeError(f"damaged records: {error}") from error
