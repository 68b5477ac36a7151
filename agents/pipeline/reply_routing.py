"""Reply routing: the reply topic and the correlation id of a request's results. Pure.

A request names its topic in the body (``reply_to``) or, as Spring for Apache Kafka does, in a
header; the body takes precedence. Validation rejects topics that are not configured, so that the
client gets a reason; `streams.runtime.processor` checks once more before it publishes.
"""

from collections.abc import Collection

import msgspec

from schemas.errors import ClipmillError, ErrorCode
from schemas.request import CORRELATION_BYTES_MAX, Reply, ReplyTopic
from streams.envelope import CORRELATION, REPLY_TOPIC
from streams.records import Incoming

NAMES_SHOWN = 20
"""Configured topics that a rejection lists at most."""


def reply_of(record: Incoming, reply_to: str | None = None) -> Reply | None:
    """Return the reply routing of a request record; ``reply_to`` comes from its body.

    Raises:
        ClipmillError: ``request.invalid``: the correlation id is too large.
    """
    correlation_id = record.header_bytes(CORRELATION)
    if correlation_id is not None and len(correlation_id) > CORRELATION_BYTES_MAX:
        reason = f"{len(correlation_id)} bytes; the maximum is {CORRELATION_BYTES_MAX}"
        raise ClipmillError(ErrorCode.REQUEST_INVALID, reason, field=f"header {CORRELATION}")
    topic = reply_to or _named_in_header(record)
    if topic is None and correlation_id is None:
        return None
    return Reply(topic=topic, correlation_id=correlation_id)


def recover_reply(record: Incoming, reply_to: str | None = None) -> Reply | None:
    """Return the reply routing of a rejected record, without the parts that are invalid."""
    topic = reply_to or _named_in_header(record)
    try:
        topic = msgspec.convert(topic, ReplyTopic | None)
    except msgspec.ValidationError:
        topic = None
    correlation_id = record.header_bytes(CORRELATION)
    if correlation_id is not None and len(correlation_id) > CORRELATION_BYTES_MAX:
        correlation_id = None
    return Reply(topic=topic, correlation_id=correlation_id) if topic or correlation_id else None


def check_reply(reply: Reply | None, topics: Collection[str], record: Incoming) -> None:
    """Reject a reply topic that is not configured.

    Raises:
        ClipmillError: ``request.invalid``, with ``field``.
    """
    if reply is None or reply.topic is None or reply.topic in topics:
        return
    in_header = reply.topic == _named_in_header(record)
    known = ", ".join(sorted(topics)[:NAMES_SHOWN])
    rest = f"is not one of {known}" if known else "cannot be named: no reply topic is configured"
    raise ClipmillError(
        ErrorCode.REQUEST_INVALID,
        f"{reply.topic[:100]!r} {rest}; the operator lists them in kafka.reply_topics",
        field=f"header {REPLY_TOPIC}" if in_header else "$.reply_to",
    )


def _named_in_header(record: Incoming) -> str | None:
    value = record.header_bytes(REPLY_TOPIC)
    return value.decode(errors="replace") if value else None
