"""What a process and those that it started use: memory, open files, threads."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import psutil

Kind = Literal["worker", "children", "broker"]
"""The process itself, what its stages started (the engine), and the embedded Kafka."""

KINDS: tuple[Kind, ...] = ("worker", "children", "broker")


@dataclass(frozen=True, slots=True)
class Use:
    """What processes of one kind use together.

    Attributes:
        memory_bytes: memory in use; a page that several processes share is counted once in all
            (Linux: proportional set size).
        files: open file descriptors.
        threads: threads.
    """

    memory_bytes: int = 0
    files: int = 0
    threads: int = 0

    def __add__(self, other: "Use") -> "Use":
        return Use(
            self.memory_bytes + other.memory_bytes,
            self.files + other.files,
            self.threads + other.threads,
        )


def read_use(root: psutil.Process) -> dict[Kind, Use]:
    """Return what a process and its descendants use, by kind; a kind without processes is absent.

    Takes a few milliseconds; what ends meanwhile is left out.

    Raises:
        psutil.NoSuchProcess: the process itself has ended.
    """
    found: dict[Kind, Use] = {"worker": _use_of(root)}
    for kind, use in _uses_of(root.children(recursive=True)):
        found[kind] = found.get(kind, Use()) + use
    return found


def _uses_of(children: Iterable[psutil.Process]) -> Iterator[tuple[Kind, Use]]:
    for child in children:
        with suppress(psutil.NoSuchProcess):
            yield _kind_of(child), _use_of(child)


def _kind_of(child: psutil.Process) -> Kind:
    return "broker" if child.name().startswith("java") else "children"


def _use_of(process: psutil.Process) -> Use:
    with process.oneshot():
        return Use(memory_of(process), _files_of(process), process.num_threads())


def memory_of(process: psutil.Process) -> int:
    """Return the bytes that a process adds to what all use together.

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        # Of another user, or of a kernel that does not tell: shared pages count every time then.
        return int(process.memory_info().rss)
    return int(getattr(full, "pss", 0) or full.uss)


def _files_of(process: psutil.Process) -> int:
    try:
        return int(process.num_fds())
    except psutil.AccessDenied:
        return 0
