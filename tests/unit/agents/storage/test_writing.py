import asyncio
import errno
import hashlib
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.storage import writing
from agents.storage.interface import FileGoneError
from agents.storage.writing import BATCH_BYTES, digest_of, open_hashing_file
from schemas.errors import ClipmillError, ErrorCode


def patch_os(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    names = {name: getattr(os, name) for name in dir(os)}
    monkeypatch.setattr(writing, "os", SimpleNamespace(**(names | changes)))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "sizes",
    [[], [1], [10] * 100, [BATCH_BYTES], [BATCH_BYTES - 1, 2, BATCH_BYTES * 3, 5]],
    ids=["nothing", "one byte", "many small", "one batch", "mixed"],
)
async def test_file_has_the_written_bytes_and_digest(sizes: list[int], tmp_path: Path) -> None:
    chunks = [os.urandom(size) for size in sizes]
    async with open_hashing_file(tmp_path / "file") as file:
        for chunk in chunks:
            await file.write(chunk)
        digest = await file.finish()
    content = b"".join(chunks)
    assert (tmp_path / "file").read_bytes() == content
    assert digest == hashlib.sha256(content).hexdigest()
    assert file.size == len(content)


@given(first=st.lists(st.binary()), second=st.lists(st.binary()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
async def test_restart_discards_the_written_bytes(
    first: list[bytes], second: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("restart") / "file"
    async with open_hashing_file(path) as file:
        for chunk in [*first, b"x" * BATCH_BYTES, b"waiting"]:
            await file.write(chunk)
        await file.restart()
        assert file.size == 0
        for chunk in second:
            await file.write(chunk)
        digest = await file.finish()
    assert path.read_bytes() == b"".join(second)
    assert digest == hashlib.sha256(b"".join(second)).hexdigest()


async def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_os(monkeypatch, write=lambda number, data: os.write(number, data[:7]))
    async with open_hashing_file(tmp_path / "file") as file:
        await file.write(b"twenty bytes of text")
        await file.finish()
    assert (tmp_path / "file").read_bytes() == b"twenty bytes of text"


async def test_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(ClipmillError, match="File exists") as caught:
        async with open_hashing_file(tmp_path / "file"):
            pass
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("call", "number", "code"),
    [
        ("write", errno.ENOSPC, ErrorCode.SYSTEM_DISK_FULL),
        ("write", errno.EIO, ErrorCode.SYSTEM_STORAGE),
    ],
)
async def test_disk_error_is_mapped_and_the_file_is_closed(
    call: str, number: int, code: ErrorCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(number, "the reason")

    before = descriptors()
    patch_os(monkeypatch, **{call: fails})

    async def job() -> None:
        async with open_hashing_file(tmp_path / "file") as file:
            await file.write(b"some")
            await file.finish()

    with pytest.raises(ClipmillError, match="the reason") as caught:
        await job()
    assert caught.value.code is code
    assert str(tmp_path) in caught.value.message
    assert descriptors() == before


async def test_cancellation_waits_for_the_running_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, resume = threading.Event(), threading.Event()
    closed: list[int] = []

    def slow(number: int, data: bytes) -> int:
        started.set()
        assert resume.wait(10)
        assert closed == []
        return os.write(number, data)

    def close(number: int) -> None:
        closed.append(number)
        os.close(number)

    patch_os(monkeypatch, write=slow, close=close)

    async def job() -> None:
        async with open_hashing_file(tmp_path / "file") as file:
            await file.write(b"x" * BATCH_BYTES)

    running = asyncio.create_task(job())
    await asyncio.to_thread(started.wait, 10)
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0)
    assert not running.done()
    resume.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(closed) == 1
    assert (tmp_path / "file").stat().st_size == BATCH_BYTES


async def test_slow_write_does_not_block_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume = threading.Event()

    def slow(number: int, data: bytes) -> int:
        assert resume.wait(10)
        return os.write(number, data)

    patch_os(monkeypatch, write=slow)
    async with open_hashing_file(tmp_path / "file") as file:
        async with asyncio.TaskGroup() as group:
            group.create_task(file.write(b"x" * BATCH_BYTES))
            group.create_task(asyncio.to_thread(resume.set))
        await file.finish()


async def test_digest_of_a_file_is_computed(tmp_path: Path) -> None:
    content = os.urandom(3 * BATCH_BYTES + 1)
    (tmp_path / "file").write_bytes(content)
    assert await digest_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


async def test_missing_file_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(FileGoneError):
        await digest_of(tmp_path / "gone")


async def test_unreadable_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(ClipmillError) as caught:
        await digest_of(tmp_path)
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE
