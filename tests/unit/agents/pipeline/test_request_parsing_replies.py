import pytest

from agents.pipeline.request_parsing import check_reply, recover_reply, reply_of
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
def test_reply_is_read_from_body_and_headers(
    reply_to: str | None, headers: list[Header], reply: Reply | None
) -> None:
    assert reply_of(make_record(b"{}", headers=headers), reply_to) == reply


def test_header_without_a_value_is_ignored() -> None:
    record = make_record(b"{}", headers=[(TOPIC, None), (CORRELATION, None)])  # type: ignore[list-item]
    assert reply_of(record) is None


def test_too_large_correlation_id_is_rejected_with_its_size() -> None:
    record = make_record(b"{}", headers=[(CORRELATION, LARGEST + b"x"), (TOPIC, b"a")])
    with pytest.raises(ClipmillError, match="1025 bytes; the maximum is 1024") as caught:
        reply_of(record)
    assert caught.value.details["field"] == "header kafka_correlationId"
    assert recover_reply(record) == Reply(topic="a")


@pytest.mark.parametrize(
    ("reply_to", "headers", "reply"),
    [
        (None, [], None),
        ("a", [(CORRELATION, b"1")], Reply(topic="a", correlation_id=b"1")),
        (None, [(TOPIC, b"a" * 250), (CORRELATION, b"1")], Reply(correlation_id=b"1")),
    ],
)
def test_reply_is_recovered_from_a_rejected_record(
    reply_to: str | None, headers: list[Header], reply: Reply | None
) -> None:
    assert recover_reply(make_record(b"{}", headers=headers), reply_to) == reply


@pytest.mark.parametrize("reply", [None, Reply(correlation_id=b"1"), Reply(topic="a")])
def test_configured_reply_topic_is_accepted(reply: Reply | None) -> None:
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
def test_unconfigured_reply_topic_is_rejected_with_the_configured_ones(
    headers: list[Header], topics: tuple[str, ...], field: str, reason: str
) -> None:
    with pytest.raises(ClipmillError) as caught:
        check_reply(Reply(topic="x"), topics, make_record(b"{}", headers=headers))
    assert caught.value.code is ErrorCode.REQUEST_INVALID
    assert caught.value.details["field"] == field
    assert caught.value.message.startswith(reason)
    assert "kafka.reply_topics" in caught.value.message
