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

from agents.accounts.cookie_text import (
    NotACookieFileError,
    decode_text,
    oddities,
    read_cookies,
)
from schemas.codec import MalformedMessageError, decode
from schemas.video import Cookie

BYTES_MAX = 1_000_000
"""Of a file; one with every cookie of a browser has about 200 KB."""

NOTE_BYTES_MAX = 1_000
"""Of what a lock file tells; it has about 80."""

ADVICE = "export it anew in Netscape's format, or correct auth.cookie_files"

OTHERS = 0o077
"""Mode bits that let others than the owner at a file."""

_NANOSECONDS = 1e9

_DATABASE = b"SQLite format 3\0"
"""How the files begin in which browsers keep their cookies."""


class Stamp(msgspec.Struct, frozen=True):
    """Which state of a file it is: time of the last change (ns), size, inode."""

    changed_ns: int
    size: int
    inode: int


class UnusableFileError(Exception):
    """A cookie file, or a folder of them, that cannot be used. For the log: it holds the path.

    Attributes:
        path: of the file or folder.
        reason: why; holds neither path nor secret.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the cookie file {shown(path)} cannot be used: {reason}; {ADVICE}")
        self.path = path
        self.reason = reason


class Content(msgspec.Struct, frozen=True):
    """What a file says.

    Attributes:
        stamp: which state of it this is.
        cookies: those that are over included. Secrets.
        oddities: which lines are not in the format, by number; None when all are.
        ours: this state was written by `cookie_saving.save`, here or in another process.
        exposed: others than its owner may read it.
    """

    stamp: Stamp
    cookies: tuple[Cookie, ...]
    oddities: str | None = None
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
        UnusableFileError: it cannot be read, or has no cookie.
    """
    try:
        return None if known is not None and stamp_of(path.stat()) == known else read(path)[1]
    except (OSError, NotACookieFileError) as error:
        raise UnusableFileError(path, _reason(error)) from None


def read(path: Path) -> tuple[str, Content]:
    """Return the text of a file, and what it says.

    Raises:
        OSError: it cannot be read.
        NotACookieFileError: it has no cookie.
    """
    data, found = _read_bytes(path, BYTES_MAX)
    if data.startswith(_DATABASE):
        raise NotACookieFileError("it is a browser's own database")
    text = decode_text(data)
    parsed = read_cookies(text)
    stamp = stamp_of(found)
    ours = _written_by_us(path.resolve()) == stamp
    exposed = bool(found.st_mode & OTHERS)
    return text, Content(stamp, parsed.cookies, oddities(parsed), ours, exposed)


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
    return str(error)
