import fcntl
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from agents.storage import workspaces
from agents.storage.workspaces import remove_abandoned, worker_directory

HOLDER = """
import sys
from pathlib import Path
from agents.storage.workspaces import worker_directory

with worker_directory(Path(sys.argv[1])) as directory:
    (directory / "job").mkdir()
    (directory / "job" / "half.mp4").write_bytes(b"half")
    print(directory, flush=True)
    sys.stdin.read()
"""


def start_holder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    return holder, Path(holder.stdout.readline().strip())


def test_worker_directory_is_private_and_removed_at_the_end(tmp_path: Path) -> None:
    with worker_directory(tmp_path / "tmp") as directory:
        assert directory.parent == tmp_path / "tmp"
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "job").mkdir()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_two_workers_have_separate_directories(tmp_path: Path) -> None:
    with worker_directory(tmp_path) as one, worker_directory(tmp_path) as two:
        assert one != two
        remove_abandoned(tmp_path)
        assert one.is_dir()
        assert two.is_dir()


def test_directory_of_a_killed_worker_is_removed_and_of_a_live_one_kept(tmp_path: Path) -> None:
    holder, directory = start_holder(tmp_path)
    with holder:
        remove_abandoned(tmp_path)
        assert (directory / "job" / "half.mp4").read_bytes() == b"half"
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    assert directory.is_dir()
    with worker_directory(tmp_path) as mine:
        assert list(tmp_path.iterdir()) == [mine]


def test_directory_without_a_lock_is_removed(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "half.mp4").touch()
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_files_and_links_are_not_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    parent = tmp_path / "tmp"
    (parent / "odd").mkdir(parents=True)
    (parent / "file").touch()
    (parent / "odd" / workspaces.LOCK_NAME).symlink_to(outside / "precious")
    (parent / "link").symlink_to(outside)
    remove_abandoned(parent)
    assert (parent / "file").exists()
    assert [path.name for path in outside.iterdir()] == ["precious"]


def test_directory_removed_during_creation_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Path] = []
    real = workspaces.lock_directory

    def lock_after_removal(directory: Path) -> int | None:
        if not removed:
            removed.append(directory)
            remove_abandoned_with(real, directory)
        return real(directory)

    def remove_abandoned_with(taken: object, directory: Path) -> None:
        del taken
        directory.rmdir()

    monkeypatch.setattr(workspaces, "lock_directory", lock_after_removal)
    with worker_directory(tmp_path) as directory:
        assert directory not in removed
        assert directory.is_dir()


def test_lock_on_a_deleted_file_is_not_acquired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def lock(descriptor: int, operation: int) -> None:
        (tmp_path / "old" / workspaces.LOCK_NAME).unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    (tmp_path / "old").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert workspaces.lock_directory(tmp_path / "old") is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_endless_removal_during_creation_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=BlockingIOError))
    with pytest.raises(BlockingIOError, match="other workers"), worker_directory(tmp_path):
        pass
