"""Codec of dead-letter headers: metadata appended to the original headers, in a fixed order.

The original headers stay unchanged; `split_headers` strips the appended ones exactly, so that a
replay is byte for byte the original record.
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
"""Header: number of replays of the record."""

REPLAY_OF = "clipmill_replay_of"
"""Header of a replayed record: id of its dead letter."""

KAFKA_TOPIC = "kafka_dlt-original-topic"
"""Header with the Kafka name of the origin topic, as displayed by user interfaces for Kafka."""

REASON_CHARACTERS = 500
TEXT_CHARACTERS = 256
"""Bounds of client-supplied texts; the longest request id has 176 characters."""

COUNT_DIGITS = 4


class DeadLetterHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """Origin and failure of a dead letter; each field is a header ``clipmill_<name>``.

    Attributes:
        origin_topic: logical name of the topic that the record was consumed from.
        origin_partition: partition there.
        origin_offset: offset there.
        origin_timestamp: timestamp of the record, epoch seconds.
        step: the stage that failed.
        code: error code of the last attempt.
        reason: error text, one line without secrets.
        attempts: number of attempts.
        platform: "" when no platform was reached.
        request_id: "" when unknown.
        failed_at: time of the last failure.
        engine: version of yt-dlp that extracted the page, "" when none did.
        version: version of clipmill.
        replays: number of earlier replays.
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


def make_dead_letter(
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
    """Make a dead letter of a record: key, value and headers unchanged, metadata appended.

    The origin is always the position of consumption, never the claim of a header: a client could
    name any topic. The origin of a replayed record is found through its `REPLAY_OF`.
    """
    metadata = DeadLetterHeaders(
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
    return Outgoing(DEADLETTERS, record.key, record.value, (*record.headers, *to_headers(metadata)))


def make_batch_dead_letter(
    topic: str, partition: int, batch: UndecodableBatch, step: str
) -> Outgoing:
    """Make a dead letter of an undecodable record batch: its raw bytes and the reason.

    On a client topic it is a client error (``request.invalid``) and does not count for the limit.
    """
    is_client_topic = topic in CLIENT_TOPICS
    record = Incoming(
        topic=topic,
        partition=partition,
        offset=batch.first_offset,
        key=None,
        value=bytes(batch),
        headers=(("content-type", BATCH_TYPE.encode()),),
        timestamp=0.0,
    )
    code = ErrorCode.REQUEST_INVALID if is_client_topic else ErrorCode.INTERNAL_BUG
    return make_dead_letter(record, step=step, code=code, reason=batch.problem)


def to_headers(metadata: DeadLetterHeaders) -> tuple[Header, ...]:
    """Encode metadata as headers; numbers as decimal text."""
    texts: dict[str, Any] = msgspec.to_builtins(metadata)
    return tuple(
        (f"clipmill_{name}", str(text).encode(errors="backslashreplace"))
        for name, text in texts.items()
    )


def split_headers(headers: Sequence[Header]) -> tuple[tuple[Header, ...], DeadLetterHeaders | None]:
    """Split into original headers and metadata; metadata is None when missing or malformed."""
    rest = tuple(headers)
    if rest and rest[-1][0] == KAFKA_TOPIC:
        rest = rest[:-1]
    original, added = rest[: -len(NAMES)], rest[-len(NAMES) :]
    if tuple(name for name, _ in added) != NAMES:
        return tuple(headers), None
    texts = {name.removeprefix("clipmill_"): _text(value) for name, value in added}
    try:
        return original, msgspec.convert(texts, DeadLetterHeaders, strict=False)
    except msgspec.ValidationError:
        return tuple(headers), None


def with_origin_name(dead_letter: Outgoing, topic_prefix: str) -> tuple[Header, ...]:
    """Return the headers of a dead letter with `KAFKA_TOPIC` added, when the origin is known."""
    _, metadata = split_headers(dead_letter.headers)
    if metadata is None or metadata.origin_topic not in BY_NAME:
        return dead_letter.headers
    name = BY_NAME[metadata.origin_topic].kafka_name(topic_prefix)
    return (*dead_letter.headers, (KAFKA_TOPIC, name.encode()))


def replays_of(record: Incoming) -> int:
    """Return the replay count of a record; 0 when the header is missing or malformed."""
    text = record.header(REPLAYS) or "0"
    return int(text) if text.isdecimal() and len(text) <= COUNT_DIGITS else 0


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


@cache
def _version() -> str:
    return version("clipmill")
