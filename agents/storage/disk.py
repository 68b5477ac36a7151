"""File calls on a disk: off the event loop, with their errors mapped, and durable.

The only place that maps `OSError` of file operations to `ClipmillError`.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from schemas.errors import ClipmillError, ErrorCode

T = TypeVar("T")

# A pool of its own: asyncio's default threads resolve names, and a slow disk must not stop DNS.
_DISK = ThreadPoolExecutor(max_workers=16, thread_name_prefix="disk")


class FileErrorRow(msgspec.Struct, frozen=True):
    """A class of file errors: errnos, error code, and advice for the operator."""

    name: str
    errnos: frozenset[int]
    code: ErrorCode
    advice: str


TABLE = (
    FileErrorRow(
        "full",
        frozenset({errno.ENOSPC, errno.EDQUOT}),
        ErrorCode.SYSTEM_DISK_FULL,
        "free space or raise the quota",
    ),
    FileErrorRow(
        "denied",
        frozenset({errno.EACCES, errno.EPERM, errno.EROFS}),
        ErrorCode.SYSTEM_STORAGE,
        "grant clipmill's user write access",
    ),
)
OTHER = FileErrorRow("other", frozenset(), ErrorCode.SYSTEM_STORAGE, "check the disk and its mount")
"""Default for every other errno."""


@contextmanager
def map_file_errors(directory: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into ``system.disk_full`` or ``system.storage``.

    Only file calls belong in it.

    Args:
        directory: of the files, for the message.
    """
    try:
        yield
    except OSError as error:
        row = find_row(error)
        reason = error.strerror or type(error).__name__
        message = f"cannot write under {directory}: {reason}; {row.advice}"
        number = errno.errorcode.get(error.errno or 0, "unknown")
        raise ClipmillError(row.code, message, errno=number) from error


def find_row(error: OSError) -> FileErrorRow:
    """Return the row for the errno of an error."""
    return next((row for row in TABLE if error.errno in row.errnos), OTHER)


async def run_on_disk(call: Callable[[], T], directory: Path) -> T:
    """Run a call in a disk thread; a cancellation is deferred until the thread has finished.

    Otherwise a descriptor could be closed, and its number reused, while the thread writes to it;
    or a workspace be removed while a file of it is published.

    Args:
        call: the file calls.
        directory: of the files, for the message of an error.

    Raises:
        ClipmillError: ``system.disk_full`` or ``system.storage``.
    """
    running = asyncio.get_running_loop().run_in_executor(_DISK, call)
    with map_file_errors(directory):
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            while not running.done():
                try:
                    await asyncio.wait([running])
                except asyncio.CancelledError:
                    continue
            running.exception()
            raise


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
