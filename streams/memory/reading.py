"""What a process and those that it started use: memory, open files, threads."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import psutil

from streams.settings import MemorySettings

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


ROOT = Path("/")
MEMBERSHIP = "proc/self/cgroup"
"""Lists the control groups of a process: ``hierarchy:controllers:path``, see cgroups(7)."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Bytes that all processes may use together, and where that was said, for people."""

    limit_bytes: int
    source: str


def find_limit(settings: MemorySettings, root: Path = ROOT) -> Limit:
    """Return the limit that holds now; that of a container may be changed while it runs.

    Args:
        settings: may name the limit.
        root: of the file system.
    """
    if settings.limit_bytes is not None:
        return Limit(settings.limit_bytes, "memory.limit_bytes")
    machine = psutil.virtual_memory().total
    granted = [limit for limit in _group_limits(root) if limit < machine]
    if granted:
        return Limit(min(granted), "the limit of the container")
    return Limit(int(machine * settings.machine_share), "memory.machine_share of the machine")


def _group_limits(root: Path) -> Iterator[int]:
    """Yield the limits of the own control groups and of those above them.

    In a container the path may be one of the machine outside, of which only the mount's root is
    seen: that is why every folder on the way up is looked at.
    """
    for mount, path, name in _memberships(root):
        folders = [mount / str(part).lstrip("/") for part in (path, *path.parents)]
        for folder in folders:
            with suppress(OSError, ValueError):
                # Without a limit version 2 says "max", version 1 a number beyond any machine.
                yield int((folder / name).read_text())


def _memberships(root: Path) -> Iterator[tuple[Path, PurePosixPath, str]]:
    """Yield mount, path in it, and name of the file with the limit; versions 2 and 1."""
    mounts = root / "sys/fs/cgroup"
    try:
        lines = (root / MEMBERSHIP).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield mounts, PurePosixPath(path), "memory.max"
        elif "memory" in controllers.split(","):
            yield mounts / "memory", PurePosixPath(path), "memory.limit_in_bytes"
