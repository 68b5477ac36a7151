"""The storage fails: the intake stops, and goes on when the storage does."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from agents.download.bounded_gather import running
from agents.download.storage_guard import CODES, StorageGuard
from agents.storage.interface import Storage
from schemas.errors import ClipmillError, ErrorCode
from streams.intake import Intake
from streams.observability.metrics import DISK_FREE
from streams.settings import DownloadSettings


class FakeStorage:
    """Free bytes, and whether a probe works."""

    def __init__(self) -> None:
        self.free: int | ClipmillError = 1_000
        self.probed: ClipmillError | None = None

    async def free_bytes(self) -> int:
        if isinstance(self.free, ClipmillError):
            raise self.free
        return self.free

    async def probe(self) -> None:
        if self.probed is not None:
            raise self.probed

    def workspace(self) -> Path:
        raise NotImplementedError


class Kit:
    def __init__(self) -> None:
        self.storage, self.intake = FakeStorage(), Intake("download")
        self.looks: list[float] = []
        self.tick = asyncio.Semaphore(0)
        settings = DownloadSettings(free_bytes=1_000, storage_check_seconds=7)
        storage = cast("Storage", self.storage)
        self.outage = StorageGuard(storage, self.intake, settings, self._pause)

    async def _pause(self, seconds: float) -> None:
        self.looks.append(seconds)
        await self.tick.acquire()

    def fail(self, code: ErrorCode = ErrorCode.SYSTEM_STORAGE) -> None:
        with pytest.raises(ClipmillError), self.outage.watching_failures():
            raise ClipmillError(code, f"it is {code}")

    async def look(self) -> None:
        """Let the storage be looked at once."""
        await settle()
        self.tick.release()
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    made = Kit()
    async with running(made.outage.watch()):
        yield made


@pytest.mark.parametrize("code", ErrorCode)
async def test_only_failures_of_the_storage_stop_the_intake(kit: Kit, code: ErrorCode) -> None:
    kit.fail(code)
    assert kit.intake.paused is (code in {ErrorCode.SYSTEM_DISK_FULL, ErrorCode.SYSTEM_STORAGE})
    assert (kit.intake.problem() is None) is (code not in CODES)


async def test_the_problem_is_told_in_words(kit: Kit) -> None:
    kit.fail()
    assert kit.intake.problem() == "storage: it is system.storage"


async def test_bugs_pass_by(kit: Kit) -> None:
    with pytest.raises(KeyError), kit.outage.watching_failures():
        raise KeyError
    assert not kit.intake.paused


@pytest.mark.parametrize(("free", "enough"), [(999, False), (1_000, True)])
async def test_too_little_space_is_a_full_disk(kit: Kit, free: int, *, enough: bool) -> None:
    kit.storage.free = free
    if enough:
        await kit.outage.check()
    else:
        with pytest.raises(ClipmillError, match="999 bytes of disk space") as caught:
            await kit.outage.check()
        assert caught.value.code is ErrorCode.SYSTEM_DISK_FULL
    assert DISK_FREE._value.get() == free


async def test_the_intake_opens_when_the_storage_works_again(kit: Kit) -> None:
    kit.fail()
    kit.storage.probed = ClipmillError(ErrorCode.SYSTEM_STORAGE, "still away")
    for _ in range(3):
        await kit.look()
        assert kit.intake.problem() == "storage: still away"
    kit.storage.probed = None
    kit.storage.free = 0
    await kit.look()
    assert "0 bytes" in (kit.intake.problem() or "")
    kit.storage.free = ClipmillError(ErrorCode.SYSTEM_STORAGE, "cannot tell")
    await kit.look()
    assert kit.intake.problem() == "storage: cannot tell"
    kit.storage.free = 1_000
    await kit.look()
    assert not kit.intake.paused
    assert set(kit.looks) == {7.0}


async def test_nobody_looks_while_all_is_well(kit: Kit) -> None:
    await settle()
    assert kit.looks == []
    kit.fail()
    await kit.look()
    kit.fail(ErrorCode.SYSTEM_DISK_FULL)
    await kit.look()
    assert len(kit.looks) == 2


async def test_what_others_hold_stays_held(kit: Kit) -> None:
    kit.intake.pause("intake/", "too many dead letters")
    kit.fail()
    await kit.look()
    assert kit.intake.problem() == "too many dead letters"
