"""Dead letters of undecodable record batches."""

import pytest

from schemas.errors import ErrorCode
from streams.cluster.record_batches import UndecodableBatch
from streams.deadletters.dead_letter import find_obstacle
from streams.deadletters.headers import make_batch_dead_letter, split_headers
from streams.records import Outgoing


def batch_dead_letter(topic: str) -> Outgoing:
    batch = UndecodableBatch(b"raw bytes")
    batch.reason, batch.first_offset, batch.next_offset = "wrong CRC", 5, 8
    return make_batch_dead_letter(topic, 3, batch, "validation")


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        ("requests", ErrorCode.REQUEST_INVALID),
        ("commands", ErrorCode.REQUEST_INVALID),
        ("audit", ErrorCode.INTERNAL_BUG),
        ("clipmill.ledger-outcomes-changelog", ErrorCode.INTERNAL_BUG),
    ],
)
def test_undecodable_batch_is_kept_as_raw_bytes_with_origin_and_reason(
    topic: str, code: str
) -> None:
    made = batch_dead_letter(topic)
    _, metadata = split_headers(made.headers)
    assert metadata is not None
    assert (made.key, made.value) == (None, b"raw bytes")
    assert type(made.value) is bytes
    assert (metadata.origin_topic, metadata.origin_partition, metadata.origin_offset) == (
        topic,
        3,
        5,
    )
    assert (metadata.code, metadata.step) == (code, "validation")
    assert metadata.reason == "record batch at offsets 5 to 7 cannot be decoded: wrong CRC"


def test_undecodable_batch_cannot_be_replayed() -> None:
    made = batch_dead_letter("requests")
    headers, metadata = split_headers(made.headers)
    assert metadata is not None
    obstacle = find_obstacle(metadata.origin_topic, headers, made.value)
    assert obstacle == "it is a record batch that could not be decoded"
