"""What a dead letter says about itself: headers behind those of the record, in a fixed order.

The record's own headers stay as they were, and what was added can be taken off again exactly.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from schemas.codec import Moment
from schemas.errors import ErrorCode
from schemas.redaction import redact
from streams.cluster.record_batches import UndecodableBatch
from streams.records import Header, Incoming, Outgoing
from streams.topics import BY_NAME, CLIENT_TOPICS, DEADLETTERS

BATCH_TYPE = "application/vnd.kafka.record-batch"
"""Content type of a dead letter that is a whole record batch."""

REPLAYS = "clipmill_replays"
"""Header: how often a record was put back from the dead letters."""

REPLAY_OF = "clipmill_replay_of"
"""Header of a record that was put back: id of the dead letter that it was."""

KAFKA_TOPIC = "kafka_dlt-original-topic"
"""Header with the origin's name on Kafka, as user interfaces for Kafka look for it."""

REASON_CHARACTERS = 500
TEXT_CHARACTERS = 256
"""Bounds of what may come from clients; the longest id of a request has 176 characters."""

COUNT_DIGITS = 4


class DeadLetterHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """Where a dead letter comes from and why it is one; each is a header ``clipmill_<name>``.

    Attributes:
        origin_topic: logical name of the topic where these bytes stood.
        origin_partition: where they stood.
        origin_offset: where they stood.
        origin_timestamp: epoch seconds, the record's own time.
        step: the stage that could not handle it.
        code: error code of the last attempt.
        reason: why not, one line without secrets.
        attempts: how often it was tried.
        platform: where, "" when no platform was reached.
        request_id: whose it is, "" when it does not tell.
        failed_at: when the last attempt failed.
        engine: version of yt-dlp that had read the page, "" when none had.
        version: version of clipmill.
        replays: how often it had been put back before.
    """

    origin_topic: str = ""
    origin_partition: int = 0
    origin_offset: int = 0
    origin_timestamp: float = 0.0
    step: str = ""
    code: str = ""
    reason: str = ""
    attempts: int = 0
    platform: str = ""
    request_id: str = ""
    failed_at: Moment
    engine: str = ""
    version: str = ""
    replays: int = 0


NAMES = tuple(f"clipmill_{field}" for field in DeadLetterHeaders.__struct_fields__)


def make_letter(
    record: Incoming,
    *,
    step: str,
    code: str,
    reason: str,
    attempts: int = 1,
    platform: str = "",
    request_id: str = "",
    failed_at: datetime | None = None,
    engine: str = "",
    replays: int = 0,
) -> Outgoing:
    """Return a record as a dead letter: key, value and headers as they were, and the facts.

    The origin is always where these bytes stood, never what a header of the record claims: a
    client could name any topic. What came before a replay is known by its `REPLAY_OF`.
    """
    facts = DeadLetterHeaders(
        origin_topic=record.topic,
        origin_partition=record.partition,
        origin_offset=record.offset,
        origin_timestamp=record.timestamp,
        step=step,
        code=code,
        reason=" ".join(redact(reason).split())[:REASON_CHARACTERS],
        attempts=attempts,
        platform=platform[:TEXT_CHARACTERS],
        request_id=(request_id or record.header("ce_correlationid") or "")[:TEXT_CHARACTERS],
        failed_at=failed_at or datetime.now(UTC),
        engine=engine,
        version=_version(),
        replays=max(replays, replays_of(record)),
    )
    return Outgoing(DEADLETTERS, record.key, record.value, (*record.headers, *to_headers(facts)))


def make_batch_letter(topic: str, partition: int, batch: UndecodableBatch, step: str) -> Outgoing:
    """Return a record batch that cannot be decoded as a dead letter: its raw bytes, and why.

    On a topic that clients write to it is the client's own fault, and counts for no limit.
    """
    of_client = topic in CLIENT_TOPICS
    record = Incoming(
        topic=topic,
        partition=partition,
        offset=batch.first_offset,
        key=None,
        value=bytes(batch),
        headers=(("content-type", BATCH_TYPE.encode()),),
        timestamp=0.0,
    )
    code = ErrorCode.REQUEST_INVALID if of_client else ErrorCode.INTERNAL_BUG
    return make_letter(record, step=step, code=code, reason=batch.problem)


def to_headers(facts: DeadLetterHeaders) -> tuple[Header, ...]:
    """Return the facts as headers: texts, numbers too."""
    texts: dict[str, Any] = msgspec.to_builtins(facts)
    return tuple(
        (f"clipmill_{name}", str(text).encode(errors="backslashreplace"))
        for name, text in texts.items()
    )


def split_headers(headers: Sequence[Header]) -> tuple[tuple[Header, ...], DeadLetterHeaders | None]:
    """Return the record's own headers and the facts; None when these are no facts of ours."""
    rest = tuple(headers)
    if rest and rest[-1][0] == KAFKA_TOPIC:
        rest = rest[:-1]
    own, added = rest[: -len(NAMES)], rest[-len(NAMES) :]
    if tuple(name for name, _ in added) != NAMES:
        return tuple(headers), None
    texts = {name.removeprefix("clipmill_"): _text(value) for name, value in added}
    try:
        return own, msgspec.convert(texts, DeadLetterHeaders, strict=False)
    except msgspec.ValidationError:
        return tuple(headers), None


def name_origin(letter: Outgoing, topic_prefix: str) -> tuple[Header, ...]:
    """Return a letter's headers with the origin's name on Kafka, which only the writer knows."""
    _, facts = split_headers(letter.headers)
    if facts is None or facts.origin_topic not in BY_NAME:
        return letter.headers
    name = BY_NAME[facts.origin_topic].kafka_name(topic_prefix)
    return (*letter.headers, (KAFKA_TOPIC, name.encode()))


def replays_of(record: Incoming) -> int:
    """Return how often a record was put back from the dead letters."""
    text = record.header(REPLAYS) or "0"
    return int(text) if text.isdecimal() and len(text) <= COUNT_DIGITS else 0


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


@cache
def _version() -> str:
    return version("clipmill")
