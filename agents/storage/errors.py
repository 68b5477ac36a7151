"""Maps `OSError` of file operations to `ClipmillError`: the only place that does."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from schemas.errors import ClipmillError, ErrorCode


class FileGoneError(Exception):
    """A published file does not exist (any more)."""


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
    """Turn an `OSError` of the block into `ClipmillError`. Only file calls belong in it.

    Args:
        directory: of the files, for the message.
    """
    try:
        yield
    except OSError as error:
        raise from_os_error(error, directory) from error


def from_os_error(error: OSError, directory: Path) -> ClipmillError:
    """Return the error as ``system.disk_full`` or ``system.storage``."""
    row = find_row(error)
    reason = error.strerror or type(error).__name__
    number = errno.errorcode.get(error.errno or 0, "unknown")
    message = f"cannot write under {directory}: {reason}; {row.advice}"
    return ClipmillError(row.code, message, errno=number)


def find_row(error: OSError) -> FileErrorRow:
    """Return the row for the errno of an error."""
    return next((row for row in TABLE if error.errno in row.errnos), OTHER)
