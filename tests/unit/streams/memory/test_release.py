import gc
import subprocess
import sys
import weakref

from streams.memory.release import ARENAS, release_memory


class Knot:
    """Refers to itself: only a collection frees it."""

    def __init__(self) -> None:
        self.self = self


def test_garbage_is_collected() -> None:
    gc.disable()
    try:
        left = weakref.ref(Knot())
        assert left() is not None
        release_memory()
        assert left() is None
    finally:
        gc.enable()


def test_threads_share_two_heaps() -> None:
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
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout.count("<heap nr=") <= ARENAS
