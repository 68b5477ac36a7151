"""Records as stages see them: what came in, what is to go out."""

from dataclasses import dataclass

from streams.topics import Topic

Header = tuple[str, bytes]


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
        """Name of the record: ``<topic>-<partition>-<offset>``."""
        return f"{self.topic}-{self.partition}-{self.offset}"

    def header(self, name: str) -> str | None:
        """Return the last header of this name as text, None when missing or not UTF-8."""
        for key, value in reversed(self.headers):
            if key == name:
                return _text(value)
        return None


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be written. ``value`` None is a tombstone."""

    topic: Topic
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class TableWrite:
    """A row to be written to a table of the stage; ``value`` None deletes it."""

    table: str
    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Barrier:
    """What stands before it is acknowledged before what stands behind it is written.

    For rows by which work that is done again comes to the same: they must not be missing when
    something that follows from them is there.
    """


Effect = Outgoing | TableWrite | Barrier
