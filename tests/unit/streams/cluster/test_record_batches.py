"""Decoding of fetched batches, and stand-ins for undecodable ones."""

import gc
import itertools
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.cluster import record_batches
from streams.cluster.record_batches import (
    OBSERVER,
    BatchObserver,
    CheckedPartitionRecords,
    CheckedRecords,
    UndecodableBatch,
)
from tests.record_batch_bytes import (
    BOMBS,
    DECODED_BYTES,
    GOOD,
    GZIP,
    LZ4,
    NONE,
    SNAPPY,
    UNDECODABLE,
    ZSTD,
    batch,
    edited,
    flipped,
    marker,
)

TP = TopicPartition("topic", 3)


class NonTextHeaderName(str):
    """Header name that encodes to invalid UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


class RecordingObserver(BatchObserver):
    """Records undecodable batches and gaps; accepts every stand-in."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[UndecodableBatch] = []
        self.gaps: list[tuple[int, int]] = []

    def on_undecodable(self, partition: TopicPartition, batch: UndecodableBatch) -> bool:
        assert partition == TP
        self.batches.append(batch)
        return True

    def on_gap(self, partition: TopicPartition, start: int, end: int) -> None:
        assert partition == TP
        self.gaps.append((start, end))


@pytest.fixture
def observer() -> Iterator[RecordingObserver]:
    found = RecordingObserver()
    token = OBSERVER.set(found)
    yield found
    OBSERVER.reset(token)


def fetched(
    data: bytes, start: int = 0, aborted: list[tuple[int, int]] | None = None
) -> CheckedPartitionRecords:
    return CheckedPartitionRecords(
        TP, CheckedRecords(data), aborted, start, None, None, True, fetcher.READ_COMMITTED
    )


def read(data: bytes, start: int = 0) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.value) for record in fetched(data, start)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(batch(b"a", b"b"), id="plain"),
        pytest.param(batch(b"a", codec=ZSTD), id="compressed"),
        pytest.param(batch(b"a") + flipped(batch(b"b", base=1)), id="undecodable"),
    ],
)
def test_fetched_bytes_are_freed_without_the_garbage_collector(data: bytes) -> None:
    gc.disable()
    try:
        records = CheckedRecords(data)
        freed = weakref.ref(records)
        reader = CheckedPartitionRecords(
            TP, records, None, 0, None, None, True, fetcher.READ_COMMITTED
        )
        assert list(reader)
        del records, reader
        assert freed() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
def test_batch_of_any_codec_is_decoded(codec: int) -> None:
    data = batch(b"a", None, b"c" * 70_000, codec=codec, headers={0: [("x", b"\xff")]})
    first, second, third, _ = fetched(data + batch(b"d", base=3))
    assert (first.offset, first.value, first.headers) == (0, b"a", (("x", b"\xff"),))
    assert (second.value, third.value) == (None, b"c" * 70_000)


@pytest.mark.parametrize("codec", [NONE, GZIP])
def test_non_text_header_name_is_escaped_and_its_neighbours_are_read(codec: int) -> None:
    headers = {1: [("good", b"1"), (NonTextHeaderName("?"), b"y")]}
    data = batch(b"a", b"b", b"c", codec=codec, headers=headers)
    found = list(fetched(data + batch(b"d", base=3)))
    assert [record.value for record in found] == [b"a", b"b", b"c", b"d"]
    assert found[1].headers == (("good", b"1"), ("\\xff\\xfe", b"y"))


@pytest.mark.parametrize("data", UNDECODABLE.values(), ids=UNDECODABLE)
def test_undecodable_batch_has_one_stand_in_and_its_neighbours_are_read(
    data: bytes, observer: RecordingObserver
) -> None:
    found = read(batch(*[b"0"] * 5) + data + batch(b"d", base=8))
    assert [offset for offset, _ in found] == [0, 1, 2, 3, 4, 5, 8]
    [bad] = observer.batches
    assert found[5][1] is bad
    assert bytes(bad) == data
    assert (bad.first_offset, bad.next_offset) == (5, 8)
    assert bad.reason
    assert observer.gaps == [(6, 8)]


@pytest.mark.parametrize("data", UNDECODABLE.values(), ids=UNDECODABLE)
def test_consumer_without_an_observer_skips_the_batch(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(data + batch(b"d", base=8), 5) == [(8, b"d")]
    assert "cannot be decoded" in caplog.text


@pytest.mark.parametrize(
    "data",
    [GOOD[:70], GOOD[:40], GOOD[:14], GOOD[:5], edited(GOOD, length=-40), edited(GOOD, length=2)],
    ids=["records cut", "header cut", "length cut", "offset cut", "negative length", "tiny length"],
)
def test_truncated_batch_is_reported_and_the_position_advances(
    data: bytes, observer: RecordingObserver
) -> None:
    records = fetched(data, 5)
    assert [record.offset for record in records] == [5]
    assert records.next_fetch_offset == 6
    assert observer.batches[0].first_offset == 5


def test_tail_with_a_wrong_crc_is_skipped_offset_by_offset_and_reported_once(
    observer: RecordingObserver,
) -> None:
    """Its last offset is untrusted, and no batch follows it yet."""
    position, found = 5, []
    for _ in range(3):
        records = fetched(flipped(GOOD), position)
        found += [record.offset for record in records]
        position = records.next_fetch_offset
    assert (found, position, len(observer.batches)) == ([5], 8, 1)
    assert read(flipped(GOOD) + batch(b"d", base=8), 7) == [(8, b"d")]


def test_batch_is_reported_again_after_a_seek_back(observer: RecordingObserver) -> None:
    for _ in range(2):
        assert [offset for offset, _ in read(flipped(GOOD), 5)] == [5]
    assert len(observer.batches) == 2


def test_batch_entered_at_a_later_offset_is_reported_from_there(
    observer: RecordingObserver,
) -> None:
    assert [offset for offset, _ in read(edited(GOOD, attributes=7), 6)] == [6]
    assert observer.batches[0].first_offset == 6
    assert observer.batches[0].next_offset == 8


@pytest.mark.parametrize("name", BOMBS)
def test_batch_that_decompresses_beyond_the_limit_is_not_decoded(
    name: str, observer: RecordingObserver
) -> None:
    assert [offset for offset, _ in read(BOMBS[name](DECODED_BYTES + 1))] == [0]
    assert "larger than 67108864 bytes" in observer.batches[0].reason


@pytest.mark.parametrize("name", BOMBS)
def test_data_within_the_limit_is_decompressed_completely(
    name: str, observer: RecordingObserver
) -> None:
    read(BOMBS[name](5_000_000))
    assert "larger" not in observer.batches[0].reason, "decompressed, though it holds no records"


def test_transaction_markers_are_reported_as_offsets_without_records(
    observer: RecordingObserver,
) -> None:
    data = batch(b"a", base=0, producer=7) + marker(1, 7, commit=True) + batch(b"b", base=2)
    assert read(data + batch(b"c", base=3, producer=7) + marker(4, 7, commit=True)) == [
        (0, b"a"),
        (2, b"b"),
        (3, b"c"),
    ]
    assert observer.gaps == [(1, 2), (4, 5)]


def test_aborted_records_are_not_read(observer: RecordingObserver) -> None:
    data = batch(b"a", b"b", producer=7) + batch(b"c", base=2) + marker(3, 7, commit=False)
    records = fetched(data, 0, [(7, 0)])
    assert [(record.offset, record.value) for record in records] == [(2, b"c")]
    assert observer.gaps == [(0, 2), (3, 4)]


def test_compacted_offsets_are_reported(observer: RecordingObserver) -> None:
    assert read(batch(b"a", base=3) + batch(b"b", base=10)) == [(3, b"a"), (10, b"b")]
    assert observer.gaps == [(0, 3), (4, 10)]


@settings(max_examples=300, deadline=None)
@given(
    start=st.integers(0, len(GOOD) - 1),
    noise=st.binary(min_size=1, max_size=12),
    codec=st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD]),
)
def test_every_offset_of_a_corrupted_batch_is_accounted_for_once(
    start: int, noise: bytes, codec: int
) -> None:
    good = batch(b"a" * 50, b"b" * 50, b"c" * 50, base=5, codec=codec)
    data = good[:start] + noise + good[start + len(noise) :]
    observer = RecordingObserver()
    token = OBSERVER.set(observer)
    try:
        records = fetched(data, 5)
        offsets = [record.offset for record in records]
    finally:
        OBSERVER.reset(token)
    covered = [*((offset, offset + 1) for offset in offsets), *observer.gaps]
    covered.sort()
    assert records.next_fetch_offset > 5, "the position advances"
    assert covered[0][0] == 5
    assert covered[-1][1] == records.next_fetch_offset
    assert all(one[1] == other[0] for one, other in itertools.pairwise(covered))


def test_install_applies_to_all_consumers_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "MemoryRecords", None)
    monkeypatch.setattr(fetcher, "PartitionRecords", None)
    record_batches.install()
    found: Any = (fetcher.MemoryRecords, fetcher.PartitionRecords)
    assert found == (CheckedRecords, CheckedPartitionRecords)
