"""Writes files and directory entries that survive a power failure."""

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Write the content of a file, no link, to the disk.

    Raises:
        OSError: the file system refuses.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(directory: Path, top: Path) -> None:
    """Create the directories below ``top``; fsync each parent, so that the entries are durable.

    Raises:
        OSError: the file system refuses.
    """
    if directory == top or directory.is_dir():
        return
    make_directories(directory.parent, top)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Write the entries of a directory to the disk.

    Raises:
        OSError: the file system refuses.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
