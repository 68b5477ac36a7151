"""Resource usage of a process and its descendants: memory, open files, threads; and its limit."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import psutil

from streams.settings import MemorySettings

ProcessKind = Literal["worker", "children", "broker"]
"""The process itself, child processes of its stages (the engine), and the embedded Kafka."""

KINDS: tuple[ProcessKind, ...] = ("worker", "children", "broker")


@dataclass(frozen=True, slots=True)
class Usage:
    """Total usage of the processes of one kind.

    Attributes:
        memory_bytes: memory in use; a page shared by several processes counts once in total
            (Linux: proportional set size).
        files: open file descriptors.
        threads: number of threads.
    """

    memory_bytes: int = 0
    files: int = 0
    threads: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.memory_bytes + other.memory_bytes,
            self.files + other.files,
            self.threads + other.threads,
        )


def read_usage(root: psutil.Process) -> dict[ProcessKind, Usage]:
    """Return the usage of a process and its descendants; a kind without processes is absent.

    Takes a few milliseconds; descendants that exit meanwhile are left out.

    Raises:
        psutil.NoSuchProcess: the process itself has exited.
    """
    found: dict[ProcessKind, Usage] = {"worker": _usage_of(root)}
    for kind, usage in _usages_of(root.children(recursive=True)):
        found[kind] = found.get(kind, Usage()) + usage
    return found


def _usages_of(children: Iterable[psutil.Process]) -> Iterator[tuple[ProcessKind, Usage]]:
    for child in children:
        with suppress(psutil.NoSuchProcess):
            yield _kind_of(child), _usage_of(child)


def _kind_of(child: psutil.Process) -> ProcessKind:
    return "broker" if child.name().startswith("java") else "children"


def _usage_of(process: psutil.Process) -> Usage:
    with process.oneshot():
        return Usage(memory_of(process), _files_of(process), process.num_threads())


def memory_of(process: psutil.Process) -> int:
    """Return the contribution of a process to the total: PSS, else USS, else RSS.

    Raises:
        psutil.NoSuchProcess: it has exited.
    """
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        # A process of another user, or a restricted kernel: shared pages count repeatedly then.
        return int(process.memory_info().rss)
    return int(getattr(full, "pss", 0) or full.uss)


def _files_of(process: psutil.Process) -> int:
    try:
        return int(process.num_fds())
    except psutil.AccessDenied:
        return 0


ROOT = Path("/")
MEMBERSHIP = "proc/self/cgroup"
"""File with the control groups of a process: ``hierarchy:controllers:path``, see cgroups(7)."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Memory limit of all processes together, and its human-readable source."""

    limit_bytes: int
    source: str


def find_limit(settings: MemorySettings, root: Path = ROOT) -> Limit:
    """Return the current limit; that of a container may change at run time.

    The first of: the setting, the lowest control-group limit, a share of the machine.

    Args:
        settings: configured limit and share.
        root: root of the file system.
    """
    if settings.limit_bytes is not None:
        return Limit(settings.limit_bytes, "memory.limit_bytes")
    machine = psutil.virtual_memory().total
    limits = [limit for limit in _group_limits(root) if limit < machine]
    if limits:
        return Limit(min(limits), "the limit of the container")
    return Limit(int(machine * settings.machine_share), "memory.machine_share of the machine")


def _group_limits(root: Path) -> Iterator[int]:
    """Yield the limits of the own control groups and of their ancestors.

    In a container the path may be that of the host, of which only the mount root is visible: so
    every ancestor folder is tried.
    """
    for mount, path, name in _memberships(root):
        folders = [mount / str(part).lstrip("/") for part in (path, *path.parents)]
        for folder in folders:
            with suppress(OSError, ValueError):
                # No limit is "max" in version 2 (ValueError), a huge number in version 1.
                yield int((folder / name).read_text())


def _memberships(root: Path) -> Iterator[tuple[Path, PurePosixPath, str]]:
    """Yield mount, path in it, and name of the limit file, for cgroup versions 2 and 1."""
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
