"""Puts a file of a folder into a workspace: by a hard link, or else by a copy."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from agents.storage_check.adoption.report import RefusedError

Placement = Literal["link", "move", "copy"]
"""Whether the storage shares the file with the folder, takes it out, or has its own."""

_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS})
"""Another file system, one without hard links, too many of them, or another user's file."""


def place(
    source: Path, target: Path, placement: Placement, check_space: Callable[[], None]
) -> None:
    """Make ``target`` the same regular file as ``source``, or a copy of it.

    Args:
        source: a file of the folder, which may be replaced by another one meanwhile.
        target: does not exist yet.
        placement: a copy is also made where a hard link is impossible.
        check_space: raises when there is no space for a copy.

    Raises:
        RefusedError: the source is no regular file (any more), or cannot be read.
        OSError: the target cannot be written.
    """
    if placement == "copy" or not _link(source, target):
        check_space()
        _copy(source, target)


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise RefusedError(f"it cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(target.lstat().st_mode):
        raise RefusedError("it is not a regular file")
    return True


def _copy(source: Path, target: Path) -> None:
    # A FIFO without a writer would block.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(source, flags)
    except OSError as error:
        raise RefusedError(f"it cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb"):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RefusedError("it is not a regular file")
        with target.open("xb") as copy:
            # Not more, should it grow meanwhile.
            remaining = os.fstat(descriptor).st_size
            while remaining and (sent := os.sendfile(copy.fileno(), descriptor, None, remaining)):
                remaining -= sent
