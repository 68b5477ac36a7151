import pytest

from agents.pipeline.reply_routing import check_reply, reply_of, salvaged_reply
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import CORRELATION_BYTES_MAX, Reply
from streams.records import Header
from tests.unit.agents.builders import make_record

TOPIC, CORRELATION = "kafka_replyTopic", "kafka_correlationId"
LARGEST = b"\x00" * CORRELATION_BYTES_MAX


@pytest.mark.parametrize(
    ("reply_to", "headers", "reply"),
    [
        (None, [], None),
        ("a", [], Reply(topic="a")),
        (None, [(TOPIC, b"a")], Reply(topic="a")),
        ("a", [(TOPIC, b"b")], Reply(topic="a")),
        (None, [(TOPIC, b"a"), (TOPIC, b"b")], Reply(topic="b")),
        (None, [(TOPIC, b"")], None),
        (None, [(TOPIC, b"\xff")], Reply(topic="\N{REPLACEMENT CHARACTER}")),
        (None, [(CORRELATION, b"\xff\x00")], Reply(correlation_id=b"\xff\x00")),
        (None, [(CORRELATION, b"")], Reply(correlation_id=b"")),
        ("a", [(CORRELATION, LARGEST)], Reply(topic="a", correlation_id=LARGEST)),
    ],
)
def test_a_record_says_where_its_results_go(
    reply_to: str | None, headers: list[Header], reply: Reply | None
) -> None:
    assert reply_of(make_record(b"{}", headers=headers), reply_to) == reply


def test_a_header_without_a_value_says_nothing() -> None:
    record = make_record(b"{}", headers=[(TOPIC, None), (CORRELATION, None)])  # type: ignore[list-item]
    assert reply_of(record) is None


def test_a_correlation_id_that_is_too_large_is_refused_with_its_size() -> None:
    record = make_record(b"{}", headers=[(CORRELATION, LARGEST + b"x"), (TOPIC, b"a")])
    with pytest.raises(ClipmillError, match="1025 bytes, at most 1024") as caught:
        reply_of(record)
    assert caught.value.details["field"] == "header kafka_correlationId"
    assert salvaged_reply(record) == Reply(topic="a")


@pytest.mark.parametrize(
    ("reply_to", "headers", "reply"),
    [
        (None, [], None),
        ("a", [(CORRELATION, b"1")], Reply(topic="a", correlation_id=b"1")),
        (None, [(TOPIC, b"a" * 250), (CORRELATION, b"1")], Reply(correlation_id=b"1")),
    ],
)
def test_what_can_be_told_of_a_refused_record(
    reply_to: str | None, headers: list[Header], reply: Reply | None
) -> None:
    assert salvaged_reply(make_record(b"{}", headers=headers), reply_to) == reply


@pytest.mark.parametrize("reply", [None, Reply(correlation_id=b"1"), Reply(topic="a")])
def test_a_configured_topic_may_be_named(reply: Reply | None) -> None:
    check_reply(reply, ("b", "a"), make_record(b"{}"))


@pytest.mark.parametrize(
    ("headers", "topics", "field", "reason"),
    [
        ([], ("b", "a"), "$.reply_to", "'x' is not one of a, b"),
        ([(TOPIC, b"y")], ("a",), "$.reply_to", "'x' is not one of a"),
        ([(TOPIC, b"x")], ("a",), "header kafka_replyTopic", "'x' is not one of a"),
        ([], (), "$.reply_to", "'x' cannot be named: no reply topic is configured"),
    ],
)
def test_another_topic_is_refused_with_those_that_may_be_named(
    headers: list[Header], topics: tuple[str, ...], field: str, reason: str
) -> None:
    with pytest.raises(ClipmillError) as caught:
        check_reply(Reply(topic="x"), topics, make_record(b"{}", headers=headers))
    assert caught.value.code is ErrorCode.REQUEST_INVALID
    assert caught.value.details["field"] == field
    assert caught.value.message.startswith(reason)
    assert "kafka.reply_topics" in caught.value.message
