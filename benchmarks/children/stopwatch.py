"""Reports time, CPU time and memory of a block to the parent."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Usage:
    """Resource usage of a block.

    Attributes:
        seconds: wall time.
        cpu_seconds: user and system time of this process and its descendants.
        start_bytes: resident memory of this process before the block.
        peak_bytes: peak resident memory of this process.
    """

    seconds: float
    cpu_seconds: float
    start_bytes: int
    peak_bytes: int


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Measure the block and write its `Usage` to standard output as a line of JSON.

    Entries that the block adds to the dictionary are included, for a subclass of `Usage`.
    """
    start_bytes = _memory("VmRSS")
    cpu, started = cpu_seconds(psutil.Process()), time.perf_counter()
    extra: dict[str, float] = {}
    yield extra
    seconds = time.perf_counter() - started
    cpu = cpu_seconds(psutil.Process()) - cpu
    usage = Usage(seconds, cpu, start_bytes, _memory("VmHWM"))
    print(json.dumps(asdict(usage) | extra), flush=True)


def cpu_seconds(process: psutil.Process) -> float:
    """Return user and system time of a process and its descendants, ended ones included."""
    family = (process, *process.children(recursive=True))
    return sum(sum(member.cpu_times()[:4]) for member in family)


def children_peak_bytes() -> int:
    """Return the sum of the peaks of resident memory of the descendants."""
    return sum(_memory("VmHWM", each.pid) for each in psutil.Process().children(recursive=True))


# Not getrusage: its peak starts at the memory of the parent at the fork.
def _memory(name: str, process: int | str = "self") -> int:
    status = Path(f"/proc/{process}/status").read_text()
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines[name].split()[0]) * 1024
