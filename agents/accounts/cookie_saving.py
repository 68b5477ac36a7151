"""Writes renewed cookies back into a cookie file, atomically and under a lock.

Several processes may write one file, and its owner may replace it at any time. The lock file
``.<name>.lock`` beside it is held (flock) by the writer and stores the fingerprint of the last
version that a clipmill process wrote; every other version is taken for the owner's. All functions
block.
"""

import fcntl
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from agents.accounts.cookie_file import (
    BYTES_MAX,
    Content,
    FileFingerprint,
    fingerprint_of,
    lock_path,
    read,
    require_regular_file,
)
from agents.accounts.cookie_text import CookieKey, key_of, parse_text, with_renewals
from schemas.video import Cookie

SAME_EXPIRY_SECONDS = 3_600.0
"""A cookie whose expiry moves by less is unchanged: many platforms move it on every page."""


def changed_cookies(before: Iterable[Cookie], after: Iterable[Cookie]) -> tuple[Cookie, ...]:
    """Return the cookies of ``after`` that are new or differ; deleted ones are not reported."""
    known = {key_of(each): each for each in before}
    return tuple(each for each in after if _is_changed(known.get(key_of(each)), each))


def login_expires_at(cookies: Sequence[Cookie], session_cookies: Collection[str]) -> float | None:
    """Return the epoch second at which a login expires, None when that is not known.

    Args:
        cookies: of the account.
        session_cookies: names of the cookies that carry the login; it expires with the first of
            them. Without a cookie of these names it expires with the last of all cookies.
    """
    named = [each.expires_at for each in cookies if each.name in session_cookies]
    if named:
        return min((end for end in named if end is not None), default=None)
    ends = [each.expires_at for each in cookies]
    return None if None in ends else max((end for end in ends if end is not None), default=None)


def _is_changed(before: Cookie | None, after: Cookie) -> bool:
    if before is None or before.value != after.value:
        return True
    if after.expires_at is None:
        return False
    return abs(after.expires_at - (before.expires_at or 0.0)) > SAME_EXPIRY_SECONDS


class Renewal(msgspec.Struct, frozen=True):
    """A cookie that the platform renewed, and when (epoch seconds)."""

    cookie: Cookie
    at: float


class BusyError(Exception):
    """Another process holds the lock of the file."""


def save(
    path: Path, renewals: Mapping[CookieKey, Renewal], known: FileFingerprint, now: float
) -> Content:
    """Write renewed cookies into a file, and return its content afterwards.

    When the file is not in the known version any more, changes of its owner win over all renewals,
    and those of another process over older renewals.

    Raises:
        BusyError: another process is writing it.
        OSError: it cannot be written.
        NotACookieFileError: it has been replaced by something else.
    """
    target = path.resolve()
    with _locked(lock_path(target)) as lock:
        text, content = read(target)
        newer = _newer_than_file(renewals, content, known)
        changes = {key: each.cookie for key, each in newer.items()}
        new = with_renewals(text, changes, now) if changes else text
        if new == text or not parse_text(new).cookies or len(new.encode()) > BYTES_MAX:
            return content
        _replace(target, new, lock)
        return read(target)[1]


def _newer_than_file(
    renewals: Mapping[CookieKey, Renewal], content: Content, known: FileFingerprint
) -> Mapping[CookieKey, Renewal]:
    if content.fingerprint == known:
        return renewals
    if not content.is_own_write:
        return {}
    return {key: each for key, each in renewals.items() if each.at > content.written_at}


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold the lock; yields its descriptor, because the path may be replaced meanwhile."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        require_regular_file(os.fstat(descriptor))
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise BusyError from None
    finally:
        os.close(descriptor)


def _replace(target: Path, text: str, lock: int) -> None:
    """Replace a file by rename: after a kill at any line, the old or the new file is there."""
    temporary = target.with_name(f".{target.name}.new")
    # Left behind by a killed process: while the lock is held there is no other writer.
    temporary.unlink(missing_ok=True)
    try:
        fingerprint = _write(temporary, text, target.stat())
        # Before the rename: after a kill in between, the old file counts as its owner's, which
        # is safe. The rename keeps mtime, size and inode.
        _record_own_write(lock, fingerprint)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _record_own_write(lock: int, fingerprint: FileFingerprint) -> None:
    """Store the fingerprint in the lock file; one that is half written does not decode."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, msgspec.json.encode(fingerprint), 0)


def _write(path: Path, text: str, like: os.stat_result) -> FileFingerprint:
    """Write and fsync a new file with the mode and, where permitted, the owner of the old one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode())
        file.flush()
        with suppress(PermissionError):
            os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, like.st_mode & 0o777)
        os.fsync(descriptor)
        return fingerprint_of(os.fstat(descriptor))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
