"""Sliding window of the calls that a circuit breaker judges by, bounded by count and age. Pure."""

import hashlib
from collections import Counter
from collections.abc import Callable, Container

import msgspec

from schemas.errors import ErrorCode


class Call(msgspec.Struct, frozen=True, array_like=True):
    """One attempt, about 50 bytes of JSON.

    Attributes:
        at: when the monitor received its report, epoch seconds.
        subject: digest of the video key or link.
        code: error code, None on success.
        slow: it exceeded the threshold of slow calls.
        retry: it was not the first attempt for its request.
    """

    at: float
    subject: str
    code: ErrorCode | None = None
    slow: bool = False
    retry: bool = False


Window = tuple[Call, ...]
"""Calls in the order in which their reports arrived."""

CallPredicate = Callable[[Call], bool]


class SubjectRatio(msgspec.Struct, frozen=True):
    """Share of the matching calls of a window, each subject counted once.

    Attributes:
        subjects: different subjects with matching calls.
        ratio: these subjects as a share of themselves and all other calls, 0 to 1.
    """

    subjects: int
    ratio: float


DIGEST_BYTES = 4
"""Length of a subject's digest. Two of the 100 subjects of a window collide once in a million
windows."""


def digest(subject: str) -> str:
    """Return the digest of a subject, 8 hex digits."""
    return hashlib.blake2b(subject.encode(), digest_size=DIGEST_BYTES).hexdigest()


def recent(window: Window, now: float, seconds: float) -> Window:
    """Return the calls that are not older than ``seconds``.

    A clock that is set back leaves times in the future; they are set to now.
    """
    return tuple(
        call if call.at <= now else msgspec.structs.replace(call, at=now)
        for call in window
        if now - call.at <= seconds
    )


def add(window: Window, call: Call, now: float, *, calls: int, seconds: float) -> Window:
    """Return the window with one more call: the latest ``calls``, not older than ``seconds``."""
    return recent((*window, call), now, seconds)[-calls:]


def subject_ratio(window: Window, matches: CallPredicate) -> SubjectRatio:
    """Return the share of matching calls.

    A video counts once, however often it is retried: the video itself may be the cause.
    """
    subjects = {call.subject for call in window if matches(call)}
    others = sum(not matches(call) for call in window)
    return SubjectRatio(len(subjects), len(subjects) / ((len(subjects) + others) or 1))


def error_ratios(window: Window) -> dict[ErrorCode, float]:
    """Return the share of all calls by the error code that they failed with."""
    counts = Counter(call.code for call in window if call.code is not None)
    return {code: count / len(window) for code, count in counts.items()}


def dominant_code(window: Window, codes: Container[ErrorCode]) -> ErrorCode | None:
    """Return the code that most subjects failed with, of several the latest; None without any."""
    subjects: dict[ErrorCode, set[str]] = {}
    for call in reversed(window):
        if call.code is not None and call.code in codes:
            subjects.setdefault(call.code, set()).add(call.subject)
    return max(subjects, key=lambda code: len(subjects[code]), default=None)


def count_retries(window: Window) -> int:
    return sum(call.retry for call in window)
