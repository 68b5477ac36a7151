import gc
import subprocess
import sys
import weakref

import pytest

from streams.memory.release import ARENAS, collect_less_often, release_memory


class ReferenceCycle:
    """References itself: freed by garbage collection only."""

    def __init__(self) -> None:
        self.self = self


def test_release_collects_garbage() -> None:
    gc.disable()
    try:
        reference = weakref.ref(ReferenceCycle())
        assert reference() is not None
        release_memory()
        assert reference() is None
    finally:
        gc.enable()


def test_collector_runs_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    thresholds: list[int] = []
    monkeypatch.setattr(gc, "set_threshold", lambda *given: thresholds.extend(given))
    collect_less_often()
    assert all(new > old for new, old in zip(thresholds, (700, 10, 10), strict=True))


def test_malloc_arenas_are_limited() -> None:
    program = """
import ctypes, re, threading
from streams.memory.release import ARENAS, limit_arenas
limit_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
barrier = threading.Barrier(16)
def work():
    libc.malloc(100_000)
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.fopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("<heap nr=") <= ARENAS
