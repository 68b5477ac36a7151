import gc
import subprocess
import sys
import weakref

from streams.memory.release import ARENAS, release_memory


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
