import gc
import weakref

from streams.memory.release import release_memory


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
