"""What goes wrong with files, as codes: the one place where an error of the disk becomes ours."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ClipmillError, ErrorCode

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


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
    if error.errno in FULL:
        code, advice = ErrorCode.SYSTEM_DISK_FULL, "free space or raise the quota"
    elif error.errno in DENIED:
        code, advice = ErrorCode.SYSTEM_STORAGE, "let clipmill's user write there"
    else:
        code, advice = ErrorCode.SYSTEM_STORAGE, "check the disk and its mount"
    reason = error.strerror or type(error).__name__
    number = errno.errorcode.get(error.errno or 0, "unknown")
    return ClipmillError(code, f"cannot write under {directory}: {reason}; {advice}", errno=number)
