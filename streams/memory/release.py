"""Keeps the C library from holding on to memory that Python has freed, or could free."""

import ctypes
import gc

M_ARENA_MAX = -8
"""Of mallopt(3), malloc.h."""

ARENAS = 2
"""Heaps of the C library. It would have eight for each core, so that threads need not wait for each
other; with Python's lock they seldom do, and every heap keeps pages that were used once."""


def limit_arenas() -> None:
    """Have few heaps, where the C library can (glibc). To be called before threads are begun."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, ARENAS)


def release_memory() -> None:
    """Collect garbage, and return free pages to the kernel where the C library can (glibc).

    Without the latter memory once used stays with the process: see malloc_trim(3).
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
