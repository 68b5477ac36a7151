"""Tables as `agents.caching.row_expiry.sweep` reads them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from agents.caching.row_expiry import Slices
from streams.records import Effect


def slices_of(rows: Mapping[str, bytes], size: int | None = None) -> Slices:
    """Read rows in slices; ``size`` replaces the size that the reader requests."""

    def read(requested: int) -> Iterable[Sequence[tuple[str, bytes]]]:
        names, count = list(rows), size or requested
        for first in range(0, len(names), count):
            yield [(name, rows[name]) for name in names[first : first + count] if name in rows]

    return read


def keys_in(slices: Iterable[Sequence[str]]) -> list[str]:
    return list(chain.from_iterable(slices))


def effects_in(slices: Iterable[Sequence[Effect]]) -> list[Effect]:
    return list(chain.from_iterable(slices))
