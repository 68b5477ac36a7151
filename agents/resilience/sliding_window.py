"""What a circuit breaker looks at: the latest attempts, none older than so many seconds. Pure."""

import hashlib
from collections import Counter
from collections.abc import Callable, Container

import msgspec

from schemas.errors import ErrorCode


class Call(msgspec.Struct, frozen=True, array_like=True):
    """One attempt, as short as it can be kept: about 50 bytes of JSON.

    Attributes:
        at: when it ended, epoch seconds.
        subject: digest of the video or link that it was about.
        code: why it failed, None when it did not.
        slow: it took too long.
        retry: it was not the first attempt for its request.
    """

    at: float
    subject: str
    code: ErrorCode | None = None
    slow: bool = False
    retry: bool = False


Window = tuple[Call, ...]
"""Calls in the order in which they were heard of."""

Matches = Callable[[Call], bool]


class Share(msgspec.Struct, frozen=True):
    """How much of a window is of one kind, each subject counted once.

    Attributes:
        subjects: different subjects with calls of this kind.
        ratio: their share of these subjects and all other calls, 0 to 1.
    """

    subjects: int
    ratio: float


DIGEST_BYTES = 4
"""Two of the 100 subjects of a window look alike once in a million windows."""


def digest(subject: str) -> str:
    """Return the short name of a subject, 8 hex digits."""
    return hashlib.blake2b(subject.encode(), digest_size=DIGEST_BYTES).hexdigest()


def recent(window: Window, now: float, seconds: float) -> Window:
    """Return the calls that are not older than ``seconds``.

    A clock that was set back makes some later than now: they count as of now.
    """
    return tuple(
        call if call.at <= now else msgspec.structs.replace(call, at=now)
        for call in window
        if now - call.at <= seconds
    )


def add(window: Window, call: Call, now: float, *, calls: int, seconds: float) -> Window:
    """Return the window with one more call: the latest ``calls``, not older than ``seconds``."""
    return recent((*window, call), now, seconds)[-calls:]


def share(window: Window, matches: Matches) -> Share:
    """Return how much of the window is of one kind.

    However often one video is tried and fails, it counts once: it may be the video.
    """
    subjects = {call.subject for call in window if matches(call)}
    others = sum(not matches(call) for call in window)
    return Share(len(subjects), len(subjects) / ((len(subjects) + others) or 1))


def error_ratios(window: Window) -> dict[ErrorCode, float]:
    """Return the share of all calls that failed with each code that occurs."""
    counts = Counter(call.code for call in window if call.code is not None)
    return {code: count / len(window) for code, count in counts.items()}


def main_code(window: Window, codes: Container[ErrorCode]) -> ErrorCode | None:
    """Return which of some codes most subjects failed with, the latest of several; None if none."""
    subjects: dict[ErrorCode, set[str]] = {}
    for call in reversed(window):
        if call.code is not None and call.code in codes:
            subjects.setdefault(call.code, set()).add(call.subject)
    return max(subjects, key=lambda code: len(subjects[code]), default=None)


def retries(window: Window) -> int:
    """Return how many calls were retries."""
    return sum(call.retry for call in window)
