"""Write-behind cache of the monitor's rows, each with a single writer.

The owner of the partition is that writer. Rows are coalesced to one write a second. The state for
workers is published to the topic ``signals`` at once when it changes, and again every day, ahead of
the topic's retention; log compaction keeps the latest one of each key. Eviction: a row leaves
memory when its partition has another owner, or when it is dropped, which also writes tombstones.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from schemas.codec import MalformedMessageError, decode, encode
from streams.envelope import seal
from streams.records import Effect, Outgoing, TableWrite
from streams.topics import SIGNALS

R = TypeVar("R")

ROW_SECONDS = 1.0
"""Minimum time, in seconds, between two writes of a row whose published state is unchanged; a row
is about 5 KB."""

REPUBLISH_SECONDS = 86_400.0
"""Interval, in seconds, at which a state that is not the default is published again, long before
the topic's retention drops it."""

ROWS_IN_FLIGHT = 4
"""Own writes of a row that are remembered: a table shows a write of a record, or of the sweep, a
little later."""


@dataclass(frozen=True, slots=True)
class PublishedState:
    """Body of the record that workers read; ``is_default`` if its absence means the same."""

    body: bytes
    is_default: bool


@dataclass(frozen=True, slots=True)
class StateKind(Generic[R]):
    """A kind of rows, and how it is published.

    Attributes:
        table: name of their table.
        row: their type.
        prefix: first part of the keys of their published state.
        event: event type of their published state.
        to_published: returns the state to publish of a row.
        on_evict: called with a row that leaves memory.
    """

    table: str
    row: type[R]
    prefix: str
    event: str
    to_published: Callable[[R], PublishedState]
    on_evict: Callable[[str, R], object] = lambda _name, _row: None


@dataclass(slots=True)
class StateEntry(Generic[R]):
    """A row in memory.

    Attributes:
        row: its current value.
        rows: encoded rows that this process read or wrote last. Any other row in the table was
            written by another owner of the partition, and is newer than this entry.
        written_at: when the row was last written, epoch seconds.
        published: the state that this process last published, None before.
        published_at: when, epoch seconds.
    """

    row: R
    rows: tuple[bytes | None, ...]
    written_at: float = 0.0
    published: bytes | None = None
    published_at: float = 0.0


class WriteBehindCache(Generic[R]):
    """Rows of one kind in memory, by name; written at most once a second.

    Args:
        kind: of the rows.
        step: the stage that writes them.
        read_row: returns the table's row of a name.
        read_signal: returns the published state of a key.
    """

    def __init__(
        self,
        kind: StateKind[R],
        step: str,
        *,
        read_row: Callable[[str], bytes | None],
        read_signal: Callable[[str], bytes | None],
    ) -> None:
        self._kind = kind
        self._step = step
        self._read_row = read_row
        self._read_signal = read_signal
        self._entries: dict[str, StateEntry[R]] = {}

    def get_or_create(self, name: str, create: Callable[[], R]) -> StateEntry[R]:
        """Return the entry of a name, loaded from the table if that is newer, else created."""
        row = self._read_row(name)
        return self.load(name, row) or self._put(name, create(), None)

    def load(self, name: str, row: bytes | None) -> StateEntry[R] | None:
        """Return the entry of a name, or the table's row if that is newer; None if malformed."""
        entry = self._entries.get(name)
        if entry is not None and row in entry.rows:
            return entry
        try:
            return self._put(name, decode(row or b"", self._kind.row), row)
        except MalformedMessageError:
            return None

    def _put(self, name: str, row: R, encoded: bytes | None) -> StateEntry[R]:
        self._entries[name] = entry = StateEntry(row, (encoded,))
        return entry

    def update(
        self, name: str, entry: StateEntry[R], after: R, cause: str, now: float
    ) -> Sequence[Effect]:
        """Apply a change; return the row if its write is due, and the state if it has changed."""
        changed = self._kind.to_published(entry.row) != self._kind.to_published(after)
        entry.row = after
        due = changed or not 0 <= now - entry.written_at < ROW_SECONDS
        row = [self._write(name, entry, now)] if due else []
        known = entry.published or self._read_signal(self._key(name))
        return [*row, *self._publish(name, entry, known, cause, now)]

    def reconcile(
        self, name: str, entry: StateEntry[R], row: bytes, now: float
    ) -> Sequence[Effect]:
        """Return the row if the table's is behind, and the state if another one is published.

        The state is also published again ahead of the topic's retention.
        """
        known = self._read_signal(self._key(name))
        is_default = self._kind.to_published(entry.row).is_default
        needs_refresh = not is_default and now - entry.published_at >= REPUBLISH_SECONDS
        state = self._publish(name, entry, None if needs_refresh else known, None, now)
        return [self._write(name, entry, now), *state] if encode(entry.row) != row else state

    def _write(self, name: str, entry: StateEntry[R], now: float) -> Effect:
        row = encode(entry.row)
        entry.rows = (*entry.rows, row)[-ROWS_IN_FLIGHT:]
        entry.written_at = now
        return TableWrite(self._kind.table, name, row)

    def _publish(
        self, name: str, entry: StateEntry[R], known: bytes | None, cause: str | None, now: float
    ) -> Sequence[Effect]:
        state = self._kind.to_published(entry.row)
        if state.body == known or (known is None and state.is_default):
            return []
        entry.published, entry.published_at = state.body, now
        return [signal(self._key(name), state.body, self._kind.event, self._step, cause)]

    def drop(self, name: str) -> Sequence[Effect]:
        """Evict a name; return the tombstones of its row and of its published state."""
        self._evict(name)
        row = TableWrite(self._kind.table, name, None)
        key = self._key(name)
        is_published = self._read_signal(key) is not None
        return [row, Outgoing(SIGNALS, key.encode(), None)] if is_published else [row]

    def retain(self, names: Iterable[str]) -> None:
        """Evict all other names: they have another owner, or no row yet."""
        for name in self._entries.keys() - set(names):
            self._evict(name)

    def _evict(self, name: str) -> None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._kind.on_evict(name, entry.row)

    def _key(self, name: str) -> str:
        return f"{self._kind.prefix}{name}"


def signal(key: str, body: bytes, event: str, step: str, cause: str | None) -> Outgoing:
    """Return a record of shared state; its id depends on key and body, so copies are idempotent."""
    return seal(
        SIGNALS,
        key,
        body,
        kind=event,
        step=step,
        event_id=f"{key}:{_digest(body)}",
        request_id=key,
        trace_id=_digest(key.encode()),
        cause_id=cause,
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
