"""Batches as aiokafka reads them, and those that it cannot read."""

from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from streams import tolerant_records
from streams.tolerant_records import TolerantRecords

NONE, GZIP = 0, 1


class NameOfBytes(str):
    """The name of a header that is no text."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


def batch(*records: tuple[bytes | None, list[tuple[str, bytes]]], compression: int = NONE) -> bytes:
    builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, 0, 100_000)
    for offset, (value, headers) in enumerate(records):
        builder.append(offset, timestamp=1, key=b"k", value=value, headers=headers)
    return bytes(builder.build())


def read(data: bytes) -> list[tuple[int, bytes | None, list[tuple[str, bytes]]]]:
    records: Any = TolerantRecords(data)
    found = []
    while records.has_next():
        one = records.next_batch()
        assert one.validate_crc()
        found += [(each.offset, each.value, list(each.headers)) for each in one]
    assert records.next_batch() is None
    return found


@pytest.mark.parametrize("compression", [NONE, GZIP])
def test_good_records_are_read_as_they_are(compression: int) -> None:
    data = batch((b"a", [("x", b"\xff")]), (None, []), compression=compression)
    assert read(data) == [(0, b"a", [("x", b"\xff")]), (1, None, [])]


@pytest.mark.parametrize("compression", [NONE, GZIP])
def test_a_name_that_is_no_text_is_escaped_and_its_neighbours_are_read(compression: int) -> None:
    bad = (b"b", [("good", b"1"), (NameOfBytes("?"), b"y")])
    data = batch((b"a", []), bad, (b"c", []), compression=compression)
    assert read(data + batch((b"d", []))) == [
        (0, b"a", []),
        (1, b"b", [("good", b"1"), ("\\xff\\xfe", b"y")]),
        (2, b"c", []),
        (0, b"d", []),
    ]


def test_all_consumers_of_the_process_read_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "MemoryRecords", None)
    tolerant_records.install()
    assert fetcher.MemoryRecords is TolerantRecords
