"""One cookie file on disk: read when it has changed. These functions block, though not for long.

Under its name and its lock's anything may lie: pipes and devices are not waited for, and no more is
read than such a file may have.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from agents.authentication.netscape import NotACookieFileError, read_cookies
from schemas.codec import MalformedMessageError, decode
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie

BYTES_MAX = 1_000_000
"""Of a file; one with every cookie of a browser has about 200 KB."""

NOTE_BYTES_MAX = 1_000
"""Of what a lock file tells; it has about 80."""

OTHERS = 0o077
"""Mode bits that let others than the owner at a file."""

_NANOSECONDS = 1e9


class Stamp(msgspec.Struct, frozen=True):
    """Which state of a file it is: time of the last change (ns), size, inode."""

    changed_ns: int
    size: int
    inode: int


class Content(msgspec.Struct, frozen=True):
    """What a file says.

    Attributes:
        stamp: which state of it this is.
        cookies: those that are over included. Secrets.
        ours: this state was written by `cookie_saving.save`, here or in another process.
        exposed: others than its owner may read it.
    """

    stamp: Stamp
    cookies: tuple[Cookie, ...]
    ours: bool = False
    exposed: bool = False

    @property
    def written_at(self) -> float:
        """Epoch second of the last change."""
        return self.stamp.changed_ns / _NANOSECONDS

    def __repr__(self) -> str:
        """Return how many cookies there are, and none of them."""
        return f"Content({self.stamp}, {len(self.cookies)} cookies)"


def load(path: Path, known: Stamp | None = None) -> Content | None:
    """Return what a file says, None when it is still in the known state.

    Raises:
        ClipmillError: ``system.config``; the file cannot be read, or is no cookie file.
    """
    try:
        return None if known is not None and stamp_of(path.stat()) == known else read(path)[1]
    except (OSError, UnicodeDecodeError, NotACookieFileError) as error:
        raise unusable(path, _reason(error)) from None


def unusable(path: Path, reason: str) -> ClipmillError:
    """Return the error of a file that cannot be used."""
    return ClipmillError(
        ErrorCode.SYSTEM_CONFIG,
        f"the cookie file {shown(path)} cannot be used: {reason};"
        " export it anew in Netscape's format, or correct auth.cookie_files",
    )


def read(path: Path) -> tuple[str, Content]:
    """Return the text of a file, and what it says.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is no text.
        NotACookieFileError: it is no cookie file.
    """
    data, found = _read_bytes(path, BYTES_MAX)
    text = data.decode("utf-8-sig")
    cookies = read_cookies(text)
    if not cookies:
        raise NotACookieFileError("there is no cookie in it")
    stamp = stamp_of(found)
    ours = _written_by_us(path.resolve()) == stamp
    return text, Content(stamp, cookies, ours, exposed=bool(found.st_mode & OTHERS))


def stamp_of(found: os.stat_result) -> Stamp:
    """Return which state of a file was found."""
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)


def lock_path(target: Path) -> Path:
    """Return the file beside a cookie file that tells what we wrote into it last."""
    return target.with_name(f".{target.name}.lock")


def shown(path: Path) -> str:
    """Return a path as it may be logged: whoever names a file cannot write lines of a log."""
    return repr(str(path))[1:-1]


def refuse_irregular(found: os.stat_result) -> None:
    """Refuse what is no regular file.

    Raises:
        OSError: it is a folder, a pipe, a device.
    """
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")


def _read_bytes(path: Path, bytes_max: int, flags: int = 0) -> tuple[bytes, os.stat_result]:
    """Return what is in a regular file, and what it was found to be.

    Raises:
        OSError: it cannot be read, or is none.
        NotACookieFileError: it has too many bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    try:
        found = os.fstat(descriptor)
        refuse_irregular(found)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(bytes_max + 1)
    finally:
        os.close(descriptor)
    if len(data) > bytes_max:
        raise NotACookieFileError(f"it has more than {bytes_max} bytes")
    return data, found


def _written_by_us(target: Path) -> Stamp | None:
    with suppress(OSError, NotACookieFileError, MalformedMessageError):
        note, _ = _read_bytes(lock_path(target), NOTE_BYTES_MAX, os.O_NOFOLLOW)
        return decode(note, Stamp)
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
