from hypothesis import given
from hypothesis import strategies as st

from streams.records import Incoming
from streams.runtime.packed_record import PackedRecord

headers = st.lists(
    st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.binary()),
    max_size=5,
)


@given(st.none() | st.binary(), st.none() | st.binary(), headers, st.integers(0, 2**62))
def test_packed_record_round_trips(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]], offset: int
) -> None:
    record = Incoming("retry.5s", 3, offset, key, value, tuple(headers), 1.5)
    packed = PackedRecord.of(record)
    assert packed.unpack() == record
    assert (packed.topic, packed.partition, packed.offset) == ("retry.5s", 3, offset)


def test_repetitive_record_is_compressed() -> None:
    record = Incoming("retry.5s", 0, 0, b"k", b'{"url": "https://tiktok.com"}' * 500, (), 1.5)
    assert len(PackedRecord.of(record).packed) < 500
