import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.deadletters.headers import (
    KAFKA_TOPIC,
    NAMES,
    REPLAYS,
    make_letter,
    name_origin,
    replays_of,
    split_headers,
)
from streams.records import Header
from tests.unit.streams.records import incoming

HEADER = st.tuples(st.sampled_from(["a", *NAMES, KAFKA_TOPIC]), st.binary(max_size=9))


@given(headers=st.lists(HEADER, max_size=40), reason=st.text(), named=st.booleans())
def test_what_is_added_can_be_taken_off_exactly(
    headers: list[Header], reason: str, named: bool
) -> None:
    letter = make_letter(incoming(headers=headers), step="s", code="c", reason=reason)
    added = name_origin(letter, "p.") if named else letter.headers
    own, facts = split_headers(added)
    assert own == tuple(headers)
    assert facts is not None
    assert (facts.origin_topic, facts.origin_partition, facts.origin_offset) == ("requests", 3, 7)
    assert (facts.step, facts.code, facts.origin_timestamp) == ("s", "c", 1_700_000_000.5)


@given(headers=st.lists(HEADER, max_size=40))
def test_headers_of_others_stay_as_they_are(headers: list[Header]) -> None:
    own, facts = split_headers(headers)
    assert facts is not None or own == tuple(headers)


def test_a_letter_buried_again_has_the_last_facts_behind_the_first() -> None:
    first = make_letter(incoming(), step="one", code="c", reason="r")
    second = make_letter(incoming(headers=first.headers), step="two", code="c", reason="r")
    own, facts = split_headers(second.headers)
    assert own == first.headers
    assert facts is not None
    assert facts.step == "two"


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
    _, facts = split_headers(make_letter(incoming(), step="s", code="c", reason=reason).headers)
    assert facts is not None
    assert facts.reason == kept


@pytest.mark.parametrize(
    ("told", "header", "kept"),
    [("r1", b"r2", "r1"), ("", b"r2", "r2"), ("", b"\xff", ""), ("", b"x" * 999, "x" * 256)],
)
def test_the_request_is_told_or_stands_in_the_headers(told: str, header: bytes, kept: str) -> None:
    record = incoming(headers=[("ce_correlationid", header)])
    letter = make_letter(record, step="s", code="c", reason="r", request_id=told)
    _, facts = split_headers(letter.headers)
    assert facts is not None
    assert facts.request_id == kept


@pytest.mark.parametrize(
    ("text", "number"),
    [(b"0", 0), (b"3", 3), (b"-1", 0), (b"x", 0), (b"\xff", 0), (b"9" * 99, 0), (b"9999", 9999)],
)
def test_replays_are_counted_by_a_header(text: bytes, number: int) -> None:
    record = incoming(headers=[(REPLAYS, b"7"), (REPLAYS, text)])
    assert replays_of(record) == number
    _, facts = split_headers(make_letter(record, step="s", code="c", reason="r").headers)
    assert facts is not None
    assert facts.replays == number


def test_a_foreign_topic_has_no_name_on_kafka() -> None:
    letter = make_letter(incoming(), step="s", code="c", reason="r")
    assert name_origin(letter, "p.")[-1] == (KAFKA_TOPIC, b"p.requests.v1")
    foreign = [(name, b"x" if name.endswith("topic") else value) for name, value in letter.headers]
    changed = type(letter)(letter.topic, None, None, tuple(foreign))
    assert name_origin(changed, "p.") == tuple(foreign)
