"""Memory usage of real processes: this one, and children that allocate a given amount."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from streams.memory.reading import Usage, memory_of, read_usage

MEBIBYTE = 2**20
ALLOCATE = """
import sys
held = bytearray(b"x" * (int(sys.argv[1]) << 20))
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def allocating_child(mebibytes: int, program: str = sys.executable) -> Iterator[psutil.Process]:
    """A child that holds ``mebibytes`` until the end of the block."""
    with subprocess.Popen(
        [program, "-c", ALLOCATE, str(mebibytes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        try:
            yield psutil.Process(child.pid)
        finally:
            child.kill()


def children_usage() -> Usage:
    return read_usage(psutil.Process()).get("children", Usage())


def test_usage_has_memory_files_and_threads() -> None:
    use = read_usage(psutil.Process())["worker"]
    assert 10 * MEBIBYTE < use.memory_bytes <= psutil.Process().memory_info().rss
    assert use.threads >= 1
    assert use.files >= 3


def test_open_files_are_counted(tmp_path: Path) -> None:
    before = read_usage(psutil.Process())["worker"].files
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        assert read_usage(psutil.Process())["worker"].files == before + 2


def test_usage_of_children_is_summed() -> None:
    before = children_usage()
    with allocating_child(20), allocating_child(30):
        use = children_usage()
        assert 50 * MEBIBYTE < use.memory_bytes - before.memory_bytes < 100 * MEBIBYTE
        assert use.threads - before.threads == 2
    assert children_usage() == before


def test_java_child_is_reported_as_broker(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.symlink_to(sys.executable)
    before = children_usage()
    with allocating_child(20, str(java)):
        uses = read_usage(psutil.Process())
        assert uses["broker"].memory_bytes > 20 * MEBIBYTE
        # Memory of other children may change meanwhile.
        others = uses.get("children", Usage())
        assert (others.files, others.threads) == (before.files, before.threads)


def test_usage_of_an_exited_process_raises() -> None:
    with allocating_child(1) as child:
        pass
    with pytest.raises(psutil.NoSuchProcess):
        read_usage(child)


class ExitedProcess:
    def name(self) -> str:
        raise psutil.NoSuchProcess(1)


class ProcessWithExitingChild:
    """This process with a child that exits while it is read."""

    def __init__(self) -> None:
        self._own = psutil.Process()

    def children(self, *, recursive: bool) -> list[Any]:
        assert recursive
        return [ExitedProcess(), self._own]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def test_child_that_exits_while_reading_is_skipped() -> None:
    process: Any = ProcessWithExitingChild()
    assert read_usage(process)["children"].threads >= 1


class ForeignProcess:
    """Process of another user."""

    def memory_full_info(self) -> Any:
        raise psutil.AccessDenied

    def memory_info(self) -> Any:
        return psutil.Process().memory_info()


def test_process_without_access_counts_with_its_full_rss() -> None:
    process: Any = ForeignProcess()
    assert memory_of(process) == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
