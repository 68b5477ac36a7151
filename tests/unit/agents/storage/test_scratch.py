import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agents.storage import scratch
from agents.storage.scratch import remove_abandoned, worker_directory

HOLDER = """
import sys
from pathlib import Path
from agents.storage.scratch import worker_directory

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


def test_a_directory_is_ours_and_gone_at_the_end(tmp_path: Path) -> None:
    with worker_directory(tmp_path / "tmp") as directory:
        assert directory.parent == tmp_path / "tmp"
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "job").mkdir()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_two_workers_do_not_meet(tmp_path: Path) -> None:
    with worker_directory(tmp_path) as one, worker_directory(tmp_path) as two:
        assert one != two
        remove_abandoned(tmp_path)
        assert one.is_dir()
        assert two.is_dir()


def test_what_a_killed_worker_left_is_removed_but_nothing_of_a_live_one(tmp_path: Path) -> None:
    holder, directory = start_holder(tmp_path)
    with holder:
        remove_abandoned(tmp_path)
        assert (directory / "job" / "half.mp4").read_bytes() == b"half"
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    assert directory.is_dir()
    with worker_directory(tmp_path) as mine:
        assert list(tmp_path.iterdir()) == [mine]


def test_a_directory_without_a_lock_is_abandoned(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "half.mp4").touch()
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    parent = tmp_path / "tmp"
    (parent / "odd").mkdir(parents=True)
    (parent / "file").touch()
    (parent / "odd" / scratch.LOCK_NAME).symlink_to(outside / "precious")
    (parent / "link").symlink_to(outside)
    remove_abandoned(parent)
    assert (parent / "file").exists()
    assert [path.name for path in outside.iterdir()] == ["precious"]


def test_a_directory_swept_away_while_it_was_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Path] = []
    real = scratch._take

    def take(directory: Path) -> int | None:
        if not swept:
            swept.append(directory)
            remove_abandoned_with(real, directory)
        return real(directory)

    def remove_abandoned_with(taken: object, directory: Path) -> None:
        del taken
        directory.rmdir()

    monkeypatch.setattr(scratch, "_take", take)
    with worker_directory(tmp_path) as directory:
        assert directory not in swept
        assert directory.is_dir()


def test_a_lock_on_a_file_that_is_gone_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = scratch._lock

    def lock(descriptor: int) -> bool:
        (tmp_path / "old" / scratch.LOCK_NAME).unlink()
        return real(descriptor)

    monkeypatch.setattr(scratch, "_lock", lock)
    (tmp_path / "old").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert scratch._take(tmp_path / "old") is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_endless_sweeping_ends_in_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_lock", lambda _: False)
    with pytest.raises(BlockingIOError, match="other workers"), worker_directory(tmp_path):
        pass
