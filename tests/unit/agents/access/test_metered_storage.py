import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter

from agents.access.metered_storage import MeteredStorage
from agents.storage import FileGoneError, LocalStorage
from schemas.errors import ClipmillError, ErrorCode
from streams.observability.metrics import STORAGE_BYTES, STORAGE_ERRORS, STORAGE_SECONDS

NAMES: dict[str, Any] = {"platform": "tiktok", "video_id": "7", "format_id": "play"}


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[MeteredStorage]:
    async with LocalStorage.open(tmp_path) as local:
        yield MeteredStorage(local)


def count(operation: str) -> float:
    samples = STORAGE_SECONDS.labels(operation)._child_samples()
    return next(sample.value for sample in samples if sample.name == "_count")


def value(counter: Counter, *labels: str) -> float:
    return float(counter.labels(*labels)._value.get())


def failures() -> float:
    (family,) = STORAGE_ERRORS.collect()
    return sum(sample.value for sample in family.samples)


async def publish(storage: MeteredStorage, content: bytes) -> str:
    async with storage.workspace() as directory:
        path = directory / "part"
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        return await storage.publish(path, **NAMES, extension="mp4", sha256=digest)


async def test_operations_and_bytes_are_counted(storage: MeteredStorage) -> None:
    operations = ("publish", "find", "stat", "read", "probe")
    before = [count(each) for each in operations]
    written, read = (value(STORAGE_BYTES, each) for each in ("written", "read"))
    uri = await publish(storage, b"bytes")
    found = await storage.find(**NAMES)
    assert found is not None
    assert await storage.stat(uri) == 5
    async with storage.reading(uri) as path:
        assert path.read_bytes() == b"bytes"
    await storage.probe()
    assert await storage.free_bytes() > 0
    assert [count(each) for each in operations] == [each + 1 for each in before]
    assert value(STORAGE_BYTES, "written") == written + 5
    assert value(STORAGE_BYTES, "read") == read + 5


async def test_failure_is_counted_by_its_cause(
    storage: MeteredStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", fails)
    before = value(STORAGE_ERRORS, "publish", "ENOSPC"), count("publish")
    with pytest.raises(ClipmillError):
        await publish(storage, b"x")
    assert value(STORAGE_ERRORS, "publish", "ENOSPC") == before[0] + 1
    assert count("publish") == before[1]


async def test_missing_file_is_no_failure(storage: MeteredStorage) -> None:
    before = failures()
    with pytest.raises(FileGoneError):
        async with storage.reading("file:///nowhere"):
            pass
    assert failures() == before


async def test_lost_workspace_is_a_storage_error(storage: MeteredStorage, tmp_path: Path) -> None:
    with pytest.raises(ClipmillError) as caught:
        await storage.publish(tmp_path / "lost", **NAMES, extension="mp4", sha256="")
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE
