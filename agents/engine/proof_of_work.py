"""Proof of work of a page: finds the number whose SHA-256 behind a seed is the given digest.

A compiled library hashes about 30 numbers a microsecond and leaves the interpreter to other threads
(`agents/engine/proof_of_work.c`, built with the package where there is a C compiler). Without it a
loop of Python does one in 0.3 to 1.7 µs; it gives way to the other threads after every slice.
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
"""What TikTok's own script tries, and yt-dlp."""

SEED_BYTES_MAX = 4_096
"""TikTok's seeds have 32."""

DIGEST_BYTES = 32

SLICE_TRIES = 1_000
SLICE_PAUSE_SECONDS = 50e-6
"""Between slices of the Python loop: enough for a thread that waits for the interpreter to get it.
Without pauses it waits for 5 ms (`sys.getswitchinterval`) each time it needs it."""

_turn = threading.Lock()
"""Held while one of the process's threads searches: another search would only slow down both, and
with one a process all other threads have at least half of a core."""

Search = Callable[[bytes, bytes, Deadline], int | None]


class ProofOfWork:
    """Solves challenges for the jobs of one thread.

    Args:
        deadline: of the job under way.
        search: how; default: the fastest way there is.

    Attributes:
        seconds: what the challenges of the job have taken so far, waits for a turn included.
    """

    def __init__(self, deadline: Deadline, search: Search | None = None) -> None:
        self.seconds: list[float] = []
        self._deadline = deadline
        self._search = search or SEARCH

    def solve(self, seed: bytes, digest: bytes) -> int:
        """Return the number.

        Raises:
            ExtractorError: there is none, or the challenge is none that has one.
            TransportError: the job's time is over.
        """
        if len(seed) > SEED_BYTES_MAX or len(digest) != DIGEST_BYTES:
            raise ExtractorError("Unable to solve JS challenge: its form is not known")
        started = time.perf_counter()
        try:
            with _Turn(self._deadline):
                number = self._search(seed, digest, self._deadline)
        finally:
            self.seconds.append(time.perf_counter() - started)
        if number is None:
            raise ExtractorError("Unable to solve JS challenge")
        return number


class _Turn:
    """Waits for the turn, no longer than the job may take."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        if not _turn.acquire(timeout=self._deadline.allow(threading.TIMEOUT_MAX)):
            raise TransportError("the deadline of the job has passed before its challenge's turn")

    def __exit__(self, *_: object) -> None:
        _turn.release()


def search_in_python(seed: bytes, digest: bytes, deadline: Deadline) -> int | None:
    """Return the number, None when there is none.

    Raises:
        TransportError: the job's time is over.
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
    """Return the search of the compiled library, None when there is none that can be loaded."""
    try:
        find_number = ctypes.CDLL(str(path)).find_number
    except (OSError, AttributeError):
        return None
    find_number.argtypes = [ctypes.c_char_p, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_long]
    find_number.restype = ctypes.c_long

    def search(seed: bytes, digest: bytes, _deadline: Deadline) -> int | None:
        # ctypes gives the interpreter to other threads for the 40 to 100 ms that it takes at most.
        number: int = find_number(seed, len(seed), digest, NUMBER_MAX)
        return None if number < 0 else number

    return search


_native = load_native()

IS_NATIVE = _native is not None

SEARCH: Search = _native or search_in_python
