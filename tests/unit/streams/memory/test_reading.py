"""Real processes: this one, and children that use what the test says."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from streams.memory.reading import Use, memory_of, read_use

MEBIBYTE = 2**20
HOLDER = """
import sys
held = bytearray(b"x" * (int(sys.argv[1]) << 20))
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(mebibytes: int, program: str = sys.executable) -> Iterator[psutil.Process]:
    """A child that holds so much until the end of the block."""
    with subprocess.Popen(
        [program, "-c", HOLDER, str(mebibytes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        try:
            yield psutil.Process(child.pid)
        finally:
            child.kill()


def children() -> Use:
    return read_use(psutil.Process()).get("children", Use())


def test_a_process_uses_memory_files_and_threads() -> None:
    use = read_use(psutil.Process())["worker"]
    assert 10 * MEBIBYTE < use.memory_bytes <= psutil.Process().memory_info().rss
    assert use.threads >= 1
    assert use.files >= 3


def test_an_open_file_is_seen(tmp_path: Path) -> None:
    before = read_use(psutil.Process())["worker"].files
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        assert read_use(psutil.Process())["worker"].files == before + 2


def test_what_children_hold_is_seen_together() -> None:
    before = children()
    with holder(20), holder(30):
        use = children()
        assert 50 * MEBIBYTE < use.memory_bytes - before.memory_bytes < 100 * MEBIBYTE
        assert use.threads - before.threads == 2
    assert children() == before


def test_a_child_of_java_is_the_broker(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.symlink_to(sys.executable)
    before = children()
    with holder(20, str(java)):
        uses = read_use(psutil.Process())
        assert uses["broker"].memory_bytes > 20 * MEBIBYTE
        assert uses.get("children", Use()) == before


def test_a_process_that_ended_is_no_use() -> None:
    with holder(1) as child:
        pass
    with pytest.raises(psutil.NoSuchProcess):
        read_use(child)


class Ended:
    def name(self) -> str:
        raise psutil.NoSuchProcess(1)


class Family:
    """The own process with children that end while one looks at them."""

    def __init__(self) -> None:
        self._own = psutil.Process()

    def children(self, *, recursive: bool) -> list[Any]:
        assert recursive
        return [Ended(), self._own]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def test_what_ends_meanwhile_is_left_out() -> None:
    family: Any = Family()
    assert read_use(family)["children"].threads >= 1


class Guarded:
    """A process of another user."""

    def memory_full_info(self) -> Any:
        raise psutil.AccessDenied

    def memory_info(self) -> Any:
        return psutil.Process().memory_info()


def test_a_process_that_may_not_be_looked_into_counts_in_full() -> None:
    guarded: Any = Guarded()
    assert memory_of(guarded) == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
