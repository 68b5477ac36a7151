import os
import subprocess
import sys
from pathlib import Path

import pytest

from streams.file_lock import FileLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_lock_is_exclusive(path: Path) -> None:
    first, second = FileLock(path), FileLock(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    second.release()


def test_holder_is_the_process_with_the_lock(path: Path) -> None:
    lock = FileLock(path)
    path.write_text("999999999999")
    assert lock.try_acquire()
    assert FileLock(path).holder() == str(os.getpid())
    lock.release()


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff", b"1 2"])
def test_holder_in_an_unreadable_lock_file_is_unknown(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert FileLock(path).holder() == "unknown"


def test_holder_without_lock_file_is_unknown(path: Path) -> None:
    assert FileLock(path).holder() == "unknown"


def test_second_release_is_a_no_op(path: Path) -> None:
    lock = FileLock(path)
    assert lock.try_acquire()
    lock.release()
    lock.release()


def test_descriptor_of_an_unlocked_file_raises(path: Path) -> None:
    with pytest.raises(RuntimeError, match="is not locked"):
        _ = FileLock(path).descriptor


def test_child_with_the_descriptor_keeps_the_lock_until_it_exits(path: Path) -> None:
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
