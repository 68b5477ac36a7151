import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.deadletters.headers import (
    KAFKA_TOPIC,
    NAMES,
    REPLAYS,
    make_dead_letter,
    replays_of,
    split_headers,
    with_origin_name,
)
from streams.records import Header
from tests.unit.streams.records import incoming

HEADER = st.tuples(st.sampled_from(["a", *NAMES, KAFKA_TOPIC]), st.binary(max_size=9))


@given(headers=st.lists(HEADER, max_size=40), reason=st.text(), named=st.booleans())
def test_added_headers_are_split_off_exactly(
    headers: list[Header], reason: str, named: bool
) -> None:
    dead_letter = make_dead_letter(incoming(headers=headers), step="s", code="c", reason=reason)
    added = with_origin_name(dead_letter, "p.") if named else dead_letter.headers
    own, metadata = split_headers(added)
    assert own == tuple(headers)
    assert metadata is not None
    assert (metadata.origin_topic, metadata.origin_partition, metadata.origin_offset) == (
        "requests",
        3,
        7,
    )
    assert (metadata.step, metadata.code, metadata.origin_timestamp) == ("s", "c", 1_700_000_000.5)


@given(headers=st.lists(HEADER, max_size=40))
def test_foreign_headers_are_kept_unchanged(headers: list[Header]) -> None:
    own, metadata = split_headers(headers)
    assert metadata is not None or own == tuple(headers)


def test_second_dead_letter_of_a_record_has_its_own_metadata_after_the_first() -> None:
    first = make_dead_letter(incoming(), step="one", code="c", reason="r")
    second = make_dead_letter(incoming(headers=first.headers), step="two", code="c", reason="r")
    own, metadata = split_headers(second.headers)
    assert own == first.headers
    assert metadata is not None
    assert metadata.step == "two"


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("two\nlines ", "two lines"),
        ("at https://me:pw@h.example/a?sig=s3cret now", "at https://h.example/a now"),
        ("x" * 100_000, "x" * 500),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_a_reason_is_one_bounded_line_without_secrets(reason: str, kept: str) -> None:
    _, metadata = split_headers(
        make_dead_letter(incoming(), step="s", code="c", reason=reason).headers
    )
    assert metadata is not None
    assert metadata.reason == kept


@pytest.mark.parametrize(
    ("given_id", "header", "kept"),
    [("r1", b"r2", "r1"), ("", b"r2", "r2"), ("", b"\xff", ""), ("", b"x" * 999, "x" * 256)],
)
def test_request_id_is_the_argument_or_comes_from_the_headers(
    given_id: str, header: bytes, kept: str
) -> None:
    record = incoming(headers=[("ce_correlationid", header)])
    dead_letter = make_dead_letter(record, step="s", code="c", reason="r", request_id=given_id)
    _, metadata = split_headers(dead_letter.headers)
    assert metadata is not None
    assert metadata.request_id == kept


@pytest.mark.parametrize(
    ("text", "number"),
    [(b"0", 0), (b"3", 3), (b"-1", 0), (b"x", 0), (b"\xff", 0), (b"9" * 99, 0), (b"9999", 9999)],
)
def test_replay_count_is_the_last_header_value(text: bytes, number: int) -> None:
    record = incoming(headers=[(REPLAYS, b"7"), (REPLAYS, text)])
    assert replays_of(record) == number
    _, metadata = split_headers(make_dead_letter(record, step="s", code="c", reason="r").headers)
    assert metadata is not None
    assert metadata.replays == number


def test_foreign_origin_topic_gets_no_kafka_name() -> None:
    dead_letter = make_dead_letter(incoming(), step="s", code="c", reason="r")
    assert with_origin_name(dead_letter, "p.")[-1] == (KAFKA_TOPIC, b"p.requests.v1")
    foreign = [
        (name, b"x" if name.endswith("topic") else value) for name, value in dead_letter.headers
    ]
    changed = type(dead_letter)(dead_letter.topic, None, None, tuple(foreign))
    assert with_origin_name(changed, "p.") == tuple(foreign)
