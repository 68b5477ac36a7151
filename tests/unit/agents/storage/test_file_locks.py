import asyncio
import fcntl
import os
import threading
from pathlib import Path

import pytest

from agents.storage import LocalStorage, PublishedFile
from agents.storage.file_locks import ReadLock, remove_unread


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    return path


def listed(path: Path) -> PublishedFile:
    return PublishedFile(uri=path.as_uri(), bytes=5, published_at=path.stat().st_mtime)


def test_file_stays_until_its_last_reader_has_left(path: Path) -> None:
    file, readers = listed(path), [ReadLock(path), ReadLock(path)]
    for reader in readers:
        assert reader.acquire()
    for reader in readers:
        assert not remove_unread(path, file)
        reader.release()
        reader.release()
    assert remove_unread(path, file)
    assert not remove_unread(path, file)
    assert not ReadLock(path).acquire()


def test_file_that_another_program_locks_is_read_and_stays(path: Path) -> None:
    file, reader = listed(path), ReadLock(path)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert reader.acquire()
        assert not remove_unread(path, file)
    reader.release()


@pytest.mark.parametrize("change", [lambda path: os.utime(path, (1, 1)), Path.unlink])
def test_file_that_is_not_as_listed_stays(change: object, path: Path) -> None:
    file = listed(path)
    assert callable(change)
    change(path)
    assert not remove_unread(path, file)


def test_pipe_blocks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert not remove_unread(path, listed(path))


async def test_cancelled_reader_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LocalStorage.open(tmp_path) as storage:
        path = storage._files / "tiktok.mp4"
        path.write_bytes(b"bytes")
        started, go_on, acquire = threading.Event(), threading.Event(), ReadLock.acquire

        def slow(lock: ReadLock) -> bool:
            started.set()
            go_on.wait(10)
            return acquire(lock)

        async def read() -> None:
            async with storage.reading(path.as_uri()):
                raise AssertionError("it was cancelled before")

        monkeypatch.setattr(ReadLock, "acquire", slow)
        task = asyncio.create_task(read())
        await asyncio.to_thread(started.wait, 10)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await storage.expire(listed(path))
