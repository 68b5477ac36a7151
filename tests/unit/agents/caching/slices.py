"""Tables as the sweeps of `agents.caching` read them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from agents.caching.row_codec import expiry_of_packed
from agents.caching.row_expiry import ReadSlices
from streams import RowFields
from streams.faust_driver.tables import IndexedStageTable
from streams.records import Effect
from tests.state_stores import IndexedInMemoryStore
from tests.unit.agents.builders import make_faust_app


def slices_of(rows: Mapping[str, bytes], size: int | None = None) -> ReadSlices:
    """Read rows in slices; ``size`` replaces the size that the reader requests."""

    def read(requested: int) -> Iterable[Sequence[tuple[str, bytes]]]:
        names, count = list(rows), size or requested
        for first in range(0, len(names), count):
            yield [(name, rows[name]) for name in names[first : first + count] if name in rows]

    return read


def index_of(rows: Mapping[str, bytes]) -> IndexedStageTable:
    """Return a table of extractions with these rows."""
    table = IndexedStageTable(
        make_faust_app(), "rows", 1, IndexedInMemoryStore(RowFields(expiry_of_packed))
    )
    for key, row in rows.items():
        table.store.put(key.encode(), row, 0)
    return table


def keys_in(slices: Iterable[Sequence[str]]) -> list[str]:
    return list(chain.from_iterable(slices))


def effects_in(slices: Iterable[Sequence[Effect]]) -> list[Effect]:
    return list(chain.from_iterable(slices))
