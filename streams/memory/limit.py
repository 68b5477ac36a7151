"""How much memory may be used: as set, or as the container allows, or a share of the machine."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from streams.settings import MemorySettings

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
