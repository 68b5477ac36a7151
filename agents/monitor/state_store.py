"""State that the monitor keeps in memory, newer than its rows, and what of it is to be written.

A row is written when what workers must know changes, else once a second; what they must know goes
to the topic ``signals``.
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
"""A row that only counts on is written as often as this; about 5 KB each time."""

REPEAT_SECONDS = 86_400.0
"""A state that holds something back is told again, long before the topic drops it."""

ROWS_IN_FLIGHT = 4
"""Of one name: a record's and the housekeeping's, each shown a little later than written."""


@dataclass(frozen=True, slots=True)
class PublishedState:
    """What workers must know: the body of a signal; ``plain`` when nothing is held back."""

    body: bytes
    plain: bool


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """One kind of rows.

    Attributes:
        table: name of their table.
        row: their type.
        prefix: first part of the keys of their signals.
        event: type of these signals.
        told: returns what workers must know of a row.
        forgotten: called with a row that this process does not look after any more.
    """

    table: str
    row: type[R]
    prefix: str
    event: str
    told: Callable[[R], PublishedState]
    forgotten: Callable[[str, R], object] = lambda _name, _row: None


@dataclass(slots=True)
class StateEntry(Generic[R]):
    """A row in memory.

    Attributes:
        now: as it is.
        rows: what this process read or wrote last. Any other row is the work of another owner,
            and newer than this one.
        written_at: when the row was last written, epoch seconds.
        told: the signal that was last written, as long as this process knows.
        told_at: when, epoch seconds.
    """

    now: R
    rows: tuple[bytes | None, ...]
    written_at: float = 0.0
    told: bytes | None = None
    told_at: float = 0.0


class StateStore(Generic[R]):
    """The rows of one kind that this process has worked on, by name.

    Args:
        kind: of the rows.
        step: the stage that writes them.
        read_row: returns the row of a name.
        read_signal: returns what workers know under a key.
    """

    def __init__(
        self,
        kind: Kind[R],
        step: str,
        *,
        read_row: Callable[[str], bytes | None],
        read_signal: Callable[[str], bytes | None],
    ) -> None:
        self._kind = kind
        self._step = step
        self._read_row = read_row
        self._read_signal = read_signal
        self._live: dict[str, StateEntry[R]] = {}

    def at(self, name: str, begin: Callable[[], R]) -> StateEntry[R]:
        """Return what is in memory, or the row if that is newer; begun when there is neither."""
        row = self._read_row(name)
        return self.known(name, row) or self._put(name, begin(), None)

    def known(self, name: str, row: bytes | None) -> StateEntry[R] | None:
        """Return what is in memory, or the row if that is newer; None when it cannot be read."""
        live = self._live.get(name)
        if live is not None and row in live.rows:
            return live
        try:
            return self._put(name, decode(row or b"", self._kind.row), row)
        except MalformedMessageError:
            return None

    def _put(self, name: str, now: R, row: bytes | None) -> StateEntry[R]:
        self._live[name] = live = StateEntry(now, (row,))
        return live

    def change(
        self, name: str, live: StateEntry[R], after: R, cause: str, now: float
    ) -> Sequence[Effect]:
        """Take on a change; return the row, if it is time for it, and the signal, if it is news."""
        changed = self._kind.told(live.now) != self._kind.told(after)
        live.now = after
        due = changed or not 0 <= now - live.written_at < ROW_SECONDS
        row = [self._write(name, live, now)] if due else []
        known = live.told or self._read_signal(self._key(name))
        return [*row, *self._tell(name, live, known, cause, now)]

    def look(self, name: str, live: StateEntry[R], row: bytes, now: float) -> Sequence[Effect]:
        """Return the row, if the written one is behind, and the signal, if another one is known.

        The signal may also be about to be dropped.
        """
        known = self._read_signal(self._key(name))
        fading = not self._kind.told(live.now).plain and now - live.told_at >= REPEAT_SECONDS
        told = self._tell(name, live, None if fading else known, None, now)
        return [self._write(name, live, now), *told] if encode(live.now) != row else told

    def _write(self, name: str, live: StateEntry[R], now: float) -> Effect:
        row = encode(live.now)
        live.rows = (*live.rows, row)[-ROWS_IN_FLIGHT:]
        live.written_at = now
        return TableWrite(self._kind.table, name, row)

    def _tell(
        self, name: str, live: StateEntry[R], known: bytes | None, cause: str | None, now: float
    ) -> Sequence[Effect]:
        told = self._kind.told(live.now)
        if told.body == known or (known is None and told.plain):
            return []
        live.told, live.told_at = told.body, now
        return [signal(self._key(name), told.body, self._kind.event, self._step, cause)]

    def drop(self, name: str) -> Sequence[Effect]:
        """Forget a name; return the tombstones of its row and of its signal."""
        self._forget(name)
        row = TableWrite(self._kind.table, name, None)
        key = self._key(name)
        is_told = self._read_signal(key) is not None
        return [row, Outgoing(SIGNALS, key.encode(), None)] if is_told else [row]

    def keep(self, names: Iterable[str]) -> None:
        """Forget all names but these: the others have another owner, or no row yet."""
        for name in self._live.keys() - set(names):
            self._forget(name)

    def _forget(self, name: str) -> None:
        live = self._live.pop(name, None)
        if live is not None:
            self._kind.forgotten(name, live.now)

    def _key(self, name: str) -> str:
        return f"{self._kind.prefix}{name}"


def signal(key: str, body: bytes, event: str, step: str, cause: str | None) -> Outgoing:
    """Return a state for all workers. What differs has another id, what is the same has none."""
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
