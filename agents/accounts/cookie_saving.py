"""Renews a cookie file on disk, without it ever being half written.

Several processes may renew one file, and its owner may replace it at any time. Beside it lies
``.<name>.lock``: who writes holds a lock on it, and it tells which state of the file was written
by a process of ours. All other states are its owner's. These functions block.
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
    Stamp,
    lock_path,
    read,
    refuse_irregular,
    stamp_of,
)
from agents.accounts.cookie_text import Key, key_of, parse_text, renewed
from schemas.video import Cookie

SAME_EXPIRY_SECONDS = 3_600.0
"""A cookie whose expiry moves by less is the same: with many platforms it moves with every page."""


def changed(before: Iterable[Cookie], after: Iterable[Cookie]) -> tuple[Cookie, ...]:
    """Return the cookies that were set anew between two moments."""
    known = {key_of(each): each for each in before}
    return tuple(each for each in after if _is_new(known.get(key_of(each)), each))


def login_ends_at(cookies: Sequence[Cookie], carriers: Collection[str]) -> float | None:
    """Return the epoch second at which a login ends, None when that is not known.

    Args:
        cookies: of the account.
        carriers: names of the cookies that carry the login; it ends with the first of them. When
            there are none of these names, it ends with the last of all cookies.
    """
    named = [each.expires_at for each in cookies if each.name in carriers]
    if named:
        return min((end for end in named if end is not None), default=None)
    ends = [each.expires_at for each in cookies]
    return None if None in ends else max((end for end in ends if end is not None), default=None)


def _is_new(before: Cookie | None, after: Cookie) -> bool:
    if before is None or before.value != after.value:
        return True
    if after.expires_at is None:
        return False
    return abs(after.expires_at - (before.expires_at or 0.0)) > SAME_EXPIRY_SECONDS


class Renewal(msgspec.Struct, frozen=True):
    """A cookie that the platform set anew, and when (epoch seconds)."""

    cookie: Cookie
    at: float


class BusyError(Exception):
    """Another process is writing the file."""


def save(path: Path, renewals: Mapping[Key, Renewal], known: Stamp, now: float) -> Content:
    """Write the cookies that were set anew into a file, and return what it says then.

    When it is not in the known state any more, its owner's changes win over all renewals, and
    those of another process over older ones.

    Raises:
        BusyError: another process is writing it.
        OSError: it cannot be written.
        NotACookieFileError: it has been replaced by something else.
    """
    target = path.resolve()
    with _locked(lock_path(target)) as lock:
        text, content = read(target)
        changes = {key: each.cookie for key, each in _valid(renewals, content, known).items()}
        new = renewed(text, changes, now) if changes else text
        if new == text or not parse_text(new).cookies or len(new.encode()) > BYTES_MAX:
            return content
        _replace(target, new, lock)
        return read(target)[1]


def _valid(
    renewals: Mapping[Key, Renewal], content: Content, known: Stamp
) -> Mapping[Key, Renewal]:
    """Return the renewals that are newer than what the file says."""
    if content.stamp == known:
        return renewals
    if not content.ours:
        return {}
    return {key: each for key, each in renewals.items() if each.at > content.written_at}


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold the lock; yields its descriptor, as another file may lie there a moment later."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        refuse_irregular(os.fstat(descriptor))
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise BusyError from None
    finally:
        os.close(descriptor)


def _replace(target: Path, text: str, lock: int) -> None:
    """Put a new file in the place of the old one; killed on any line, one of them is there."""
    temporary = target.with_name(f".{target.name}.new")
    # One that was killed left it: nobody else writes, as the lock is held.
    temporary.unlink(missing_ok=True)
    try:
        stamp = _write(temporary, text, target.stat())
        # First the note: killed in between, the old file is taken for its owner's, which is safe.
        _note(lock, stamp)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _note(lock: int, stamp: Stamp) -> None:
    """Tell which state is ours; half a note is none."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, msgspec.json.encode(stamp), 0)


def _write(path: Path, text: str, like: os.stat_result) -> Stamp:
    """Write a new file that belongs to whom the old one belongs to, down to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode())
        file.flush()
        with suppress(PermissionError):
            os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, like.st_mode & 0o777)
        os.fsync(descriptor)
        return stamp_of(os.fstat(descriptor))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
