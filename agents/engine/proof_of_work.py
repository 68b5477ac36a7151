"""Proof-of-work solver: finds the number whose SHA-256, appended to a seed, is the given digest.

A compiled library hashes about 30 numbers a microsecond and releases the GIL
(`agents/engine/proof_of_work.c`, built with the package where there is a C compiler). The fallback
in Python hashes one in 0.3 to 1.7 µs, and yields to the other threads after every slice.
"""

import ctypes
import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from yt_dlp.networking.exceptions import TransportError
from yt_dlp.utils import ExtractorError

from agents.engine.request_bounds import Deadline

LIBRARY = Path(__file__).with_name("libproof_of_work.so")

NUMBER_MAX = 1_000_000
"""Upper bound of the search, as in TikTok's own script and in yt-dlp."""

SEED_BYTES_MAX = 4_096
"""Limit; TikTok's seeds have 32."""

DIGEST_BYTES = 32

SLICE_TRIES = 1_000
SLICE_PAUSE_SECONDS = 50e-6
"""Pause between slices of the Python loop: long enough for a waiting thread to acquire the GIL.
Without pauses it waits for 5 ms (`sys.getswitchinterval`) each time."""

_lock = threading.Lock()
"""One search at a time per process: concurrent searches would only slow each other down, and with
one, all other threads have at least half of a core."""

Search = Callable[[bytes, bytes, Deadline], int | None]


class ProofOfWork:
    """Solves challenges for the jobs of one thread.

    Args:
        deadline: of the current job.
        search: default: compiled where available, else in Python.

    Attributes:
        seconds: time spent on each challenge of the job so far, waits for the lock included.
    """

    def __init__(self, deadline: Deadline, search: Search | None = None) -> None:
        self.seconds: list[float] = []
        self._deadline = deadline
        self._search = search or SEARCH

    def solve(self, seed: bytes, digest: bytes) -> int:
        """Return the number.

        Raises:
            ExtractorError: no number up to `NUMBER_MAX`, or an unknown form of challenge.
            TransportError: the job's deadline has passed.
        """
        if len(seed) > SEED_BYTES_MAX or len(digest) != DIGEST_BYTES:
            raise ExtractorError("Unable to solve JS challenge: its form is not known")
        started = time.perf_counter()
        try:
            with _SearchLock(self._deadline):
                number = self._search(seed, digest, self._deadline)
        finally:
            self.seconds.append(time.perf_counter() - started)
        if number is None:
            raise ExtractorError("Unable to solve JS challenge")
        return number


class _SearchLock:
    """Acquires `_lock`, with the job's deadline as the timeout."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        if not _lock.acquire(timeout=self._deadline.allow(threading.TIMEOUT_MAX)):
            raise TransportError("the deadline of the job has passed before its challenge's turn")

    def __exit__(self, *_: object) -> None:
        _lock.release()


def search_in_python(seed: bytes, digest: bytes, deadline: Deadline) -> int | None:
    """Return the number, None when there is none.

    Raises:
        TransportError: the job's deadline has passed.
    """
    base = hashlib.sha256(seed)
    for start in range(0, NUMBER_MAX + 1, SLICE_TRIES):
        for number in range(start, min(start + SLICE_TRIES, NUMBER_MAX + 1)):
            candidate = base.copy()
            candidate.update(b"%d" % number)
            if candidate.digest() == digest:
                return number
        deadline.allow(0.0)
        time.sleep(SLICE_PAUSE_SECONDS)
    return None


def load_native(path: Path = LIBRARY) -> Search | None:
    """Return the search of the compiled library, None when it cannot be loaded."""
    try:
        find_number = ctypes.CDLL(str(path)).find_number
    except (OSError, AttributeError):
        return None
    find_number.argtypes = [ctypes.c_char_p, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_long]
    find_number.restype = ctypes.c_long

    def search(seed: bytes, digest: bytes, _deadline: Deadline) -> int | None:
        # ctypes releases the GIL for the call, which takes 40 to 100 ms at most.
        number: int = find_number(seed, len(seed), digest, NUMBER_MAX)
        return None if number < 0 else number

    return search


_native = load_native()

IS_NATIVE = _native is not None

SEARCH: Search = _native or search_in_python
