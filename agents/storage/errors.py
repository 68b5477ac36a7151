"""What goes wrong with files, as codes: the one place where an error of the disk becomes ours."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from schemas.errors import ClipmillError, ErrorCode


class FileGoneError(Exception):
    """A published file is not there (any more)."""


class Row(msgspec.Struct, frozen=True):
    """A kind of trouble with files: its numbers, its code, and what to do about it."""

    name: str
    numbers: frozenset[int]
    code: ErrorCode
    advice: str


TABLE = (
    Row(
        "full",
        frozenset({errno.ENOSPC, errno.EDQUOT}),
        ErrorCode.SYSTEM_DISK_FULL,
        "free space or raise the quota",
    ),
    Row(
        "denied",
        frozenset({errno.EACCES, errno.EPERM, errno.EROFS}),
        ErrorCode.SYSTEM_STORAGE,
        "let clipmill's user write there",
    ),
)
OTHER = Row("other", frozenset(), ErrorCode.SYSTEM_STORAGE, "check the disk and its mount")
"""What no row of the table knows."""


@contextmanager
def map_file_errors(directory: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into `ClipmillError`. Only file calls belong in it.

    Args:
        directory: where the files are, for the message.
    """
    try:
        yield
    except OSError as error:
        raise from_os_error(error, directory) from error


def from_os_error(error: OSError, directory: Path) -> ClipmillError:
    """Return what the error means: ``system.disk_full`` or ``system.storage``."""
    row = find_row(error)
    reason = error.strerror or type(error).__name__
    number = errno.errorcode.get(error.errno or 0, "unknown")
    message = f"cannot write under {directory}: {reason}; {row.advice}"
    return ClipmillError(row.code, message, errno=number)


def find_row(error: OSError) -> Row:
    """Return the row of the table that knows the number of an error."""
    return next((row for row in TABLE if error.errno in row.numbers), OTHER)
