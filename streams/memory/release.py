"""Gives memory that Python has freed, or could free, back to the system."""

import ctypes
import gc


def release_memory() -> None:
    """Collect garbage, and return free pages to the kernel where the C library can (glibc).

    Without the latter memory once used stays with the process: see malloc_trim(3).
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
