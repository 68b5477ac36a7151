"""One cookie file on disk: read when it has changed. These functions block."""

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from agents.authentication.netscape import NotACookieFileError, read_cookies
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie

BYTES_MAX = 1_000_000
"""Of a file; one with every cookie of a browser has about 200 KB."""

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
        f"the cookie file {path} cannot be used: {reason};"
        " export it anew in Netscape's format, or correct auth.cookie_files",
    )


def read(path: Path) -> tuple[str, Content]:
    """Return the text of a file, and what it says.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is no text.
        NotACookieFileError: it is no cookie file.
    """
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        data = file.read(BYTES_MAX + 1)
    if len(data) > BYTES_MAX:
        raise NotACookieFileError(f"it has more than {BYTES_MAX} bytes")
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


def _written_by_us(target: Path) -> Stamp | None:
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(lock_path(target).read_bytes(), type=Stamp)
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
