"""Circuit breakers in memory, newer than their rows, and what of them is still to be written."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agents.breaker_news import is_plain, signal, signal_key, unmeasure, withdrawal
from agents.resilience.breaker import Breaker, state_of
from schemas.codec import MalformedMessageError, decode, encode
from schemas.errors import ErrorCode
from streams.records import Effect, TableWrite

ROW_SECONDS = 1.0
"""A row that only counts on is written as often as this; about 5 KB each time."""

REPEAT_SECONDS = 86_400.0
"""A state that holds something back is told again, long before the topic drops it."""

ROWS_IN_FLIGHT = 4
"""Of one breaker: a record's and the housekeeping's, each shown a little later than written."""


@dataclass(slots=True)
class Live:
    """A breaker in memory.

    Attributes:
        breaker: as it is.
        rows: what this process read or wrote last. Any other row is the work of another owner,
            and newer than this breaker.
        written_at: when the row was last written, epoch seconds.
        told: the signal that was last written, as long as this process knows.
        told_at: when, epoch seconds.
        codes: error codes that have a gauge.
    """

    breaker: Breaker
    rows: tuple[bytes | None, ...]
    written_at: float = 0.0
    told: bytes | None = None
    told_at: float = 0.0
    codes: frozenset[ErrorCode] = frozenset()


class LiveBreakers:
    """The breakers that this process has worked on, by name.

    Args:
        table: name of the table with their rows.
        step: the stage that writes them.
        read_signal: returns what workers know under a key.
    """

    def __init__(self, table: str, step: str, read_signal: Callable[[str], bytes | None]) -> None:
        self._table = table
        self._step = step
        self._read_signal = read_signal
        self._live: dict[str, Live] = {}

    def at(self, name: str, row: bytes | None) -> Live | None:
        """Return a breaker from memory, or from its row if that is newer or the only one."""
        live = self._live.get(name)
        if live is not None and row in live.rows:
            return live
        try:
            breaker = decode(row or b"", Breaker)
        except MalformedMessageError:
            return None
        return self._put(name, breaker, row)

    def begin(self, name: str, breaker: Breaker) -> Live:
        """Take in a breaker that has no row that could be read."""
        return self._put(name, breaker, None)

    def _put(self, name: str, breaker: Breaker, row: bytes | None) -> Live:
        self._live[name] = live = Live(breaker, (row,))
        return live

    def write(self, name: str, live: Live, now: float) -> Effect:
        """Return the row of a breaker."""
        row = encode(live.breaker)
        live.rows = (*live.rows, row)[-ROWS_IN_FLIGHT:]
        live.written_at = now
        return TableWrite(self._table, name, row)

    def tell_news(self, name: str, live: Live, cause: str, now: float) -> Sequence[Effect]:
        """Return the signal of a breaker, if it is another than what was told last."""
        known = live.told or self._read_signal(signal_key(name))
        return self._tell(live, known, cause, now)

    def tell_again(self, name: str, live: Live, now: float) -> Sequence[Effect]:
        """Return the signal of a breaker, if workers know another one or may soon know none."""
        known = self._read_signal(signal_key(name))
        fading = not is_plain(state_of(live.breaker)) and now - live.told_at >= REPEAT_SECONDS
        return self._tell(live, None if fading else known, None, now)

    def _tell(
        self, live: Live, known: bytes | None, cause: str | None, now: float
    ) -> Sequence[Effect]:
        state = state_of(live.breaker)
        body = encode(state)
        if body == known or (known is None and is_plain(state)):
            return []
        live.told, live.told_at = body, now
        return [signal(state, self._step, cause)]

    def drop(self, name: str) -> Sequence[Effect]:
        """Forget a breaker; return the tombstones of its row and of its signal."""
        self._forget(name)
        row = TableWrite(self._table, name, None)
        is_told = self._read_signal(signal_key(name)) is not None
        return [row, withdrawal(name)] if is_told else [row]

    def keep(self, names: Iterable[str]) -> None:
        """Forget all breakers but these: the others have another owner, or no row yet."""
        for name in self._live.keys() - set(names):
            self._forget(name)

    def _forget(self, name: str) -> None:
        live = self._live.pop(name, None)
        if live is not None:
            unmeasure(live.breaker, live.codes)
