"""What the monitor sees at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from streams.memory.limit import Limit, find_limit
from streams.memory.reading import KINDS, Kind, Use, read_use
from streams.observability.metrics import MEMORY, MEMORY_LIMIT, OPEN_FILES, THREADS
from streams.settings import MemorySettings


@dataclass(frozen=True, slots=True)
class Look:
    """What is in use, by kind of process, and what may be."""

    uses: Mapping[Kind, Use]
    limit: Limit

    @property
    def used_bytes(self) -> int:
        """Memory of all processes together."""
        return sum(use.memory_bytes for use in self.uses.values())

    @property
    def used_share(self) -> float:
        """The same as a share of the limit."""
        return self.used_bytes / self.limit.limit_bytes

    def __str__(self) -> str:
        return (
            f"{mebibytes(self.used_bytes)} of {mebibytes(self.limit.limit_bytes)} are in use"
            f" (the limit is {self.limit.source})"
        )


def look_at_process(settings: MemorySettings) -> Look:
    """Return what this process and its children use, and the limit that holds now."""
    return Look(read_use(psutil.Process()), find_limit(settings))


def export(seen: Look) -> None:
    """Show it in the metrics."""
    MEMORY_LIMIT.set(seen.limit.limit_bytes)
    for kind in KINDS:
        use = seen.uses.get(kind, Use())
        MEMORY.labels(kind).set(use.memory_bytes)
        OPEN_FILES.labels(kind).set(use.files)
        THREADS.labels(kind).set(use.threads)


def mebibytes(size: float) -> str:
    """Return bytes for people."""
    return f"{size / 2**20:.0f} MiB"
