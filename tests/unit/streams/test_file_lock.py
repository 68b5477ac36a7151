import os
import subprocess
import sys
from pathlib import Path

import pytest

from streams.file_lock import FileLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_one_at_a_time(path: Path) -> None:
    first, second = FileLock(path), FileLock(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    second.release()


def test_the_holder_is_known(path: Path) -> None:
    lock = FileLock(path)
    path.write_text("999999999999")
    assert lock.try_acquire()
    assert FileLock(path).holder() == str(os.getpid())
    lock.release()


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff", b"1 2"])
def test_an_unknown_holder(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert FileLock(path).holder() == "unknown"


def test_no_file_no_holder(path: Path) -> None:
    assert FileLock(path).holder() == "unknown"


def test_releasing_twice_is_harmless(path: Path) -> None:
    lock = FileLock(path)
    assert lock.try_acquire()
    lock.release()
    lock.release()


def test_only_a_held_lock_can_be_handed_on(path: Path) -> None:
    with pytest.raises(RuntimeError, match="is not locked"):
        _ = FileLock(path).descriptor


def test_a_child_keeps_the_lock_until_it_ends(path: Path) -> None:
    lock = FileLock(path)
    assert lock.try_acquire()
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        pass_fds=(lock.descriptor,),
    )
    lock.release()
    assert not FileLock(path).try_acquire()
    child.communicate(timeout=10)
    assert lock.try_acquire()
    lock.release()
