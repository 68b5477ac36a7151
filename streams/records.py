"""Records as stages see them: what came in, what is to go out."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from streams.topics import Topic
from streams.tracing.spans import Span

Header = tuple[str, bytes]

LAST_TIMESTAMP_SECONDS = 2**63 / 1000
"""Bound of the timestamps of Kafka: 64 bits of milliseconds."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as it was read.

    Attributes:
        topic: logical name of its topic.
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
        """Place of the record, for people: ``<topic>-<partition>-<offset>``.

        A topic that was deleted and created again has the same positions; see `record_id`.
        """
        return f"{self.topic}-{self.partition}-{self.offset}"

    @property
    def record_id(self) -> str:
        """Id of the record: its position and its timestamp, ``<position>-<milliseconds>``.

        A record without a timestamp has 16 hex digits of the SHA-256 of key and value instead.
        """
        if 0 < self.timestamp < LAST_TIMESTAMP_SECONDS:
            return f"{self.position}-{round(self.timestamp * 1000)}"
        content = hashlib.sha256(b"%b\n%b" % (self.key or b"", self.value or b""))
        return f"{self.position}-{content.hexdigest()[:16]}"

    def header(self, name: str) -> str | None:
        """Return the last header of this name as text, None when missing or not UTF-8."""
        return _text(self.header_bytes(name))

    def header_reader(self) -> Callable[[str], str | None]:
        """Return `header` for several names: the headers are gone through once, 0.5 us."""
        values = dict(self.headers)
        return lambda name: _text(values.get(name))

    def header_bytes(self, name: str) -> bytes | None:
        """Return the last header of this name, None when it is missing or has no value."""
        return next((value for key, value in reversed(self.headers) if key == name), None)


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be written. ``value`` None is a tombstone.

    ``reply_to`` is the full name of a topic that gets it instead of ``topic``, if that is one of
    the configured reply topics and takes it. ``spans`` are recorded when it is acknowledged.
    """

    topic: Topic
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()
    reply_to: str | None = None
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class TableWrite:
    """A row to be written to a table of the stage; ``value`` None deletes it."""

    table: str
    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Flush:
    """What stands before it is acknowledged before what stands behind it is written.

    For rows by which work that is done again comes to the same: they must not be missing when
    something that follows from them is there.
    """


Effect = Outgoing | TableWrite | Flush
