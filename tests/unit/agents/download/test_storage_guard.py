"""StorageGuard: a storage failure pauses consumption until the storage works again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from agents.download.agent import background_task
from agents.download.storage_guard import StorageGuard
from agents.storage.interface import Storage
from schemas.errors import ClipmillError, ErrorCode
from streams.intake import Intake
from streams.observability.metrics import DISK_FREE
from streams.settings import DownloadSettings


class FakeStorage:
    """A storage with given free bytes and probe error."""

    def __init__(self) -> None:
        self.free: int | ClipmillError = 1_000
        self.probe_error: ClipmillError | None = None

    async def free_bytes(self) -> int:
        if isinstance(self.free, ClipmillError):
            raise self.free
        return self.free

    async def probe(self) -> None:
        if self.probe_error is not None:
            raise self.probe_error

    def workspace(self) -> Path:
        raise NotImplementedError


class StorageGuardHarness:
    def __init__(self) -> None:
        self.storage, self.intake = FakeStorage(), Intake("download")
        self.check_intervals: list[float] = []
        self.tick = asyncio.Semaphore(0)
        settings = DownloadSettings(free_bytes=1_000, storage_check_seconds=7)
        storage = cast("Storage", self.storage)
        self.guard = StorageGuard(storage, self.intake, settings, self._pause)

    async def _pause(self, seconds: float) -> None:
        self.check_intervals.append(seconds)
        await self.tick.acquire()

    def fail(self, code: ErrorCode = ErrorCode.SYSTEM_STORAGE) -> None:
        self.guard.pause_intake(ClipmillError(code, f"it is {code}"))

    async def run_check(self) -> None:
        """Run one check of the storage."""
        await run_ready_tasks()
        self.tick.release()
        await run_ready_tasks()


async def run_ready_tasks() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def harness() -> AsyncIterator[StorageGuardHarness]:
    made = StorageGuardHarness()
    async with background_task(made.guard.watch()):
        yield made


async def test_pause_reason_is_the_error_message(harness: StorageGuardHarness) -> None:
    harness.fail()
    assert harness.intake.problem() == "storage: it is system.storage"


@pytest.mark.parametrize(("free", "enough"), [(999, False), (1_000, True)])
async def test_too_little_free_space_is_a_full_disk(
    harness: StorageGuardHarness, free: int, *, enough: bool
) -> None:
    harness.storage.free = free
    if enough:
        await harness.guard.check()
    else:
        with pytest.raises(ClipmillError, match="999 bytes of disk space") as caught:
            await harness.guard.check()
        assert caught.value.code is ErrorCode.SYSTEM_DISK_FULL
    assert DISK_FREE._value.get() == free


async def test_consumption_resumes_when_the_storage_works_again(
    harness: StorageGuardHarness,
) -> None:
    harness.fail()
    harness.storage.probe_error = ClipmillError(ErrorCode.SYSTEM_STORAGE, "still away")
    for _ in range(3):
        await harness.run_check()
        assert harness.intake.problem() == "storage: still away"
    harness.storage.probe_error = None
    harness.storage.free = 0
    await harness.run_check()
    assert "0 bytes" in (harness.intake.problem() or "")
    harness.storage.free = ClipmillError(ErrorCode.SYSTEM_STORAGE, "cannot tell")
    await harness.run_check()
    assert harness.intake.problem() == "storage: cannot tell"
    harness.storage.free = 1_000
    await harness.run_check()
    assert not harness.intake.paused
    assert set(harness.check_intervals) == {7.0}


async def test_storage_is_not_checked_while_it_works(harness: StorageGuardHarness) -> None:
    await run_ready_tasks()
    assert harness.check_intervals == []
    harness.fail()
    await harness.run_check()
    harness.fail(ErrorCode.SYSTEM_DISK_FULL)
    await harness.run_check()
    assert len(harness.check_intervals) == 2


async def test_pause_of_another_owner_is_kept(harness: StorageGuardHarness) -> None:
    harness.intake.pause("intake/", "too many dead letters")
    harness.fail()
    await harness.run_check()
    assert harness.intake.problem() == "too many dead letters"
