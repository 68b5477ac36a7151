import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.request import RequestId
from tests.unit.streams.records import incoming


def test_position_is_topic_partition_and_offset() -> None:
    assert incoming(offset=9, partition=2).position == "requests-2-9"


def test_id_is_position_and_milliseconds() -> None:
    record = incoming(offset=9, partition=2, timestamp=1_795_893_600.123)
    assert record.record_id == "requests-2-9-1795893600123"


DISTINCT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "recreated topic": ({"timestamp": 1_795_893_600.123}, {"timestamp": 1_795_893_600.124}),
    "batch with broker timestamps": ({"offset": 1}, {"offset": 2}),
    "no timestamps, different values": (
        {"timestamp": -0.001, "value": b"a"},
        {"timestamp": -0.001, "value": b"b"},
    ),
    "no timestamps, different keys": (
        {"timestamp": 0.0, "key": b"a", "value": b"b"},
        {"timestamp": 0.0, "key": None, "value": b"ab"},
    ),
}


@pytest.mark.parametrize("case", DISTINCT)
def test_distinct_records_have_distinct_ids(case: str) -> None:
    one, other = (incoming(**fields) for fields in DISTINCT[case])
    assert one.record_id != other.record_id


@given(
    st.floats() | st.integers(-(2**63), 2**63 - 1).map(lambda milliseconds: milliseconds / 1000),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
    st.none() | st.binary(max_size=20),
)
def test_record_id_is_stable_and_a_valid_request_id(
    timestamp: float, partition: int, offset: int, value: bytes | None
) -> None:
    one, again = (
        incoming(value, timestamp=timestamp, partition=partition, offset=offset) for _ in range(2)
    )
    assert one.record_id == again.record_id
    assert msgspec.convert(one.record_id, RequestId) == one.record_id


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        pytest.param([], None, id="missing"),
        pytest.param([("b", b"x")], None, id="other header"),
        pytest.param([("a", b"x")], "x", id="present"),
        pytest.param([("a", b"x"), ("a", b"y")], "y", id="last one wins"),
        pytest.param([("a", "häh".encode())], "häh", id="UTF-8"),
        pytest.param([("a", b"\xff\xfe")], None, id="not UTF-8"),
        pytest.param([("a", None)], None, id="null"),
        pytest.param([("a", b"")], "", id="empty"),
    ],
)
def test_header_is_its_last_value_as_text(headers: list[Any], text: str | None) -> None:
    assert incoming(headers=headers).header("a") == text


def test_cached_headers_that_were_dropped_are_decoded_again() -> None:
    headers = [("a", b"1"), ("b", b"\xff")]
    record = incoming(headers=headers)
    assert (record.header("a"), record.header("missing")) == ("1", None)
    record.drop_cached()
    assert record.__dict__ == {}
    assert record.header("a") == "1"
    assert record == incoming(headers=headers)


@pytest.mark.parametrize(
    "timestamp", [-1.0, -0.001, 0.0, 1e18, -1e18, 1e300, math.inf, -math.inf, math.nan]
)
def test_implausible_timestamps_are_replaced_by_now(timestamp: float) -> None:
    before = datetime.now(UTC)
    received = incoming(timestamp=timestamp).received_at()
    assert before <= received <= datetime.now(UTC)


def test_record_timestamp_is_the_arrival_time() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert incoming(timestamp=moment.timestamp()).received_at() == moment
