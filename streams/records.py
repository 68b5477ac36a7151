"""Consumed records, and the effects that a handler returns for them. Pure data.

A handler performs no writes itself: it returns effects, which `streams.runtime.processor` publishes
in order before the source offset is committed. Effects are structs of msgspec: each record has
several, and a frozen dataclass takes 1 µs more. A row without a value is a tombstone.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec

from streams.topics import Topic
from streams.tracing.context import TraceContext, parse_context, trace_digest
from streams.tracing.spans import Span

T = TypeVar("T")

Header = tuple[str, bytes]

LAST_TIMESTAMP_SECONDS = 2**63 / 1000
"""Seconds: bound of Kafka's timestamps, 64 bits of milliseconds."""


class _Cached(Generic[T]):
    """`functools.cached_property` without its lock, which takes 0.5 us before Python 3.12."""

    def __init__(self, compute: Callable[["Incoming"], T]) -> None:
        self._compute = compute

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    def __get__(self, record: "Incoming", _owner: type) -> T:
        value = record.__dict__[self._name] = self._compute(record)
        return value


class Incoming(msgspec.Struct, frozen=True, dict=True):
    """A consumed record. What is computed from its headers is cached: they are read 20 times.

    Attributes:
        topic: logical topic name.
        timestamp: epoch seconds, set by the producer.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    timestamp: float

    @property
    def position(self) -> str:
        """Human-readable position: ``<topic>-<partition>-<offset>``.

        Not unique: a recreated topic has the same positions; see `record_id`.
        """
        return f"{self.topic}-{self.partition}-{self.offset}"

    @_Cached
    def record_id(self) -> str:
        """Unique id, equal on redelivery: ``<position>-<timestamp in milliseconds>``.

        Without a timestamp, 16 hex digits of the SHA-256 of key and value replace it.
        """
        if 0 < self.timestamp < LAST_TIMESTAMP_SECONDS:
            return f"{self.position}-{round(self.timestamp * 1000)}"
        content = hashlib.sha256(b"%b\n%b" % (self.key or b"", self.value or b""))
        return f"{self.position}-{content.hexdigest()[:16]}"

    def received_at(self) -> datetime:
        """Return the timestamp; now, when the producer's clock is ahead or unset."""
        now = datetime.now(UTC)
        is_past = 0 < self.timestamp <= now.timestamp()
        return datetime.fromtimestamp(self.timestamp, UTC) if is_past else now

    @_Cached
    def trace_context(self) -> TraceContext:
        """The position in a trace that the headers name; a digest of the record id if they do not.

        The digest has no span id.
        """
        found = parse_context(self.header("traceparent"), self.header("tracestate"))
        return found or TraceContext(trace_digest(self.record_id))

    @_Cached
    def _texts(self) -> dict[str, str | None]:
        try:
            return {name: value.decode() for name, value in self.headers}
        except (AttributeError, UnicodeDecodeError):
            return {name: _decode(value) for name, value in self.headers}

    def header(self, name: str) -> str | None:
        """Return the last header of a name as text, None when missing or not UTF-8."""
        return self._texts.get(name)

    def header_bytes(self, name: str) -> bytes | None:
        """Return the last header of a name, None when missing or without a value."""
        return next((value for each, value in reversed(self.headers) if each == name), None)

    def drop_cached(self) -> None:
        """Free what is cached, of a record that waits: 1 KB for ten headers."""
        self.__dict__.clear()


def _decode(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


class Outgoing(msgspec.Struct, frozen=True):
    """A record to be published. ``value`` None is a tombstone.

    ``reply_to`` is the full name of a topic that replaces ``topic``, if it is a configured reply
    topic and accepts the record. ``spans`` are recorded on acknowledgement.
    """

    topic: Topic
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()
    reply_to: str | None = None
    spans: tuple[Span, ...] = ()

    def with_spans(self, spans: tuple[Span, ...]) -> "Outgoing":
        """Return the same record with further spans."""
        return msgspec.structs.replace(self, spans=(*self.spans, *spans))


class TableWrite(msgspec.Struct, frozen=True):
    """A row to be written to the changelog of a stage's table; ``value`` None deletes it."""

    table: str
    key: str
    value: bytes | None


def tombstones(table: str, keys: Iterable[str]) -> list[TableWrite]:
    """Return the writes that delete rows."""
    return [TableWrite(table, key, None) for key in keys]


@dataclass(frozen=True, slots=True)
class Flush:
    """Write barrier: earlier effects are acknowledged before later ones are published.

    For rows that make reprocessing idempotent: they must be durable before their consequences are.
    """


Effect = Outgoing | TableWrite | Flush
