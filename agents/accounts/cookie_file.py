"""Finds the cookie files of a platform and reads them, unless their fingerprint is unchanged.

An account is a file, named after the file's stem.

The path and its lock file may be anything (a pipe, a device, a huge file): opens never wait, and
reads are bounded. All functions block, for a short time.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from agents.accounts.cookie_text import (
    NotACookieFileError,
    decode_text,
    format_issues,
    read_cookies,
)
from schemas.codec import MalformedMessageError, decode
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie

PATTERN = "*.txt"
"""Cookie files in a folder."""

ACCOUNTS_MAX = 100
"""Per platform: names are metric labels, and all files are polled for every page."""

_NAME = re.compile(r"[\w.@+-]{1,64}", re.ASCII)
"""Safe as a metric label and in a log line."""

_UNSAFE_CHARACTER = re.compile(r"[^\w.@+-]", re.ASCII)

BYTES_MAX = 1_000_000
"""Size limit of a cookie file; one with every cookie of a browser has about 200 KB."""

LOCK_BYTES_MAX = 1_000
"""Size limit of a lock file; its JSON has about 80 bytes."""

ADVICE = "export it again in Netscape's format, or correct auth.cookie_files"

GROUP_AND_OTHERS = 0o077
"""Permission bits of everybody but the owner."""

_NANOSECONDS = 1e9

_SQLITE_MAGIC = b"SQLite format 3\0"
"""First bytes of the databases in which browsers keep their cookies."""


class FileFingerprint(msgspec.Struct, frozen=True):
    """Identifies one version of a file: mtime (ns), size, inode. JSON in the lock file."""

    changed_ns: int
    size: int
    inode: int


class UnusableFileError(Exception):
    """A cookie file, or a folder of them, cannot be used. The message holds the path: log only.

    Attributes:
        path: of the file or folder.
        reason: holds neither path nor secret.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the cookie file {printable(path)} cannot be used: {reason}; {ADVICE}")
        self.path = path
        self.reason = reason


class Content(msgspec.Struct, frozen=True):
    """The parsed content of one version of a cookie file.

    Attributes:
        fingerprint: of this version.
        cookies: expired ones included. Secrets.
        format_issues: lines that depart from the format, by number; None when there are none.
        is_own_write: `cookie_saving.save` wrote this version, in this process or another.
        exposed: its permissions let group or others access it.
    """

    fingerprint: FileFingerprint
    cookies: tuple[Cookie, ...]
    format_issues: str | None = None
    is_own_write: bool = False
    exposed: bool = False

    @property
    def written_at(self) -> float:
        """Epoch second of the last change."""
        return self.fingerprint.changed_ns / _NANOSECONDS

    def __repr__(self) -> str:
        """Return the number of cookies, no values."""
        return f"Content({self.fingerprint}, {len(self.cookies)} cookies)"


def account_name(path: Path) -> str:
    """Return the account name of a file: its stem, made safe where it has other characters."""
    if _NAME.fullmatch(path.stem):
        return path.stem
    # The digest keeps apart stems that differ only in replaced characters.
    digest = hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:8]
    return f"{_UNSAFE_CHARACTER.sub('_', path.stem[:55])}-{digest}"


def account_names(locations: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of the accounts of these files and folders.

    A missing folder counts as one account, ``*``: recovery only needs to know whether there are
    accounts, and may run on a machine without the files. Blocks while a folder is listed.
    """
    found: dict[str, None] = {}
    for location in locations:
        try:
            found |= dict.fromkeys(account_name(path) for path in _files(location))
        except OSError:
            found["*"] = None
    return tuple(found)[:ACCOUNTS_MAX]


def account_files(locations: Sequence[Path]) -> Mapping[str, Path]:
    """Return the files by account name; the first of several with one name wins. Blocks.

    Raises:
        UnusableFileError: a folder cannot be listed.
        ClipmillError: ``system.config``; there are too many files.
    """
    found: dict[str, Path] = {}
    for location in locations:
        try:
            for path in _files(location):
                found.setdefault(account_name(path), path)
        except OSError as error:
            raise UnusableFileError(location, error.strerror or type(error).__name__) from None
    if len(found) > ACCOUNTS_MAX:
        message = f"{len(found)} cookie files for one platform; the maximum is {ACCOUNTS_MAX}"
        raise ClipmillError(ErrorCode.SYSTEM_CONFIG, message)
    return found


def _files(location: Path) -> list[Path]:
    """Return the cookie files at a location; a single file is returned without a check."""
    if not _is_folder(location):
        return [location]
    found = (path for path in location.iterdir() if path.match(PATTERN))
    return sorted(path for path in found if not path.name.startswith("."))


def _is_folder(location: Path) -> bool:
    """Return whether it is a folder; a missing path counts as one when it has no suffix."""
    return location.is_dir() or not (location.exists() or location.suffix)


def load(path: Path, known: FileFingerprint | None = None) -> Content | None:
    """Return the content of a file, None when its fingerprint is still the known one.

    Raises:
        UnusableFileError: it cannot be read, or has no cookie.
    """
    try:
        return None if known is not None and fingerprint_of(path.stat()) == known else read(path)[1]
    except (OSError, NotACookieFileError) as error:
        raise UnusableFileError(path, _reason(error)) from None


def read(path: Path) -> tuple[str, Content]:
    """Return the text of a file and its parsed content.

    Raises:
        OSError: it cannot be read.
        NotACookieFileError: it has no cookie.
    """
    data, status = _read_bytes(path, BYTES_MAX)
    if data.startswith(_SQLITE_MAGIC):
        raise NotACookieFileError("it is the database of a browser")
    text = decode_text(data)
    parsed = read_cookies(text)
    fingerprint = fingerprint_of(status)
    is_own_write = _last_own_write(path.resolve()) == fingerprint
    exposed = bool(status.st_mode & GROUP_AND_OTHERS)
    return text, Content(fingerprint, parsed.cookies, format_issues(parsed), is_own_write, exposed)


def fingerprint_of(status: os.stat_result) -> FileFingerprint:
    return FileFingerprint(status.st_mtime_ns, status.st_size, status.st_ino)


def lock_path(target: Path) -> Path:
    """Return the lock file beside a cookie file; it holds the fingerprint of our last write."""
    return target.with_name(f".{target.name}.lock")


def printable(path: Path) -> str:
    """Return a path escaped for the log: file names cannot inject log lines."""
    return repr(str(path))[1:-1]


def require_regular_file(status: os.stat_result) -> None:
    """Reject anything but a regular file.

    Raises:
        OSError: it is a folder, a pipe, a device.
    """
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def _read_bytes(path: Path, bytes_max: int, flags: int = 0) -> tuple[bytes, os.stat_result]:
    """Return the bytes and the status of a regular file.

    Raises:
        OSError: it cannot be read, or is not a regular file.
        NotACookieFileError: it has too many bytes.
    """
    # O_NONBLOCK: opening a pipe without a writer would block forever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    try:
        status = os.fstat(descriptor)
        require_regular_file(status)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(bytes_max + 1)
    finally:
        os.close(descriptor)
    if len(data) > bytes_max:
        raise NotACookieFileError(f"it has more than {bytes_max} bytes")
    return data, status


def _last_own_write(target: Path) -> FileFingerprint | None:
    with suppress(OSError, NotACookieFileError, MalformedMessageError):
        data, _ = _read_bytes(lock_path(target), LOCK_BYTES_MAX, os.O_NOFOLLOW)
        return decode(data, FileFingerprint)
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)
