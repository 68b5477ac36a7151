import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import pytest

from agents.download import retention
from agents.download.retention import (
    FILES_MAX,
    PROTECTED_SECONDS,
    Retention,
    record_requester,
    requester_id,
    requesters_by_post,
)
from agents.storage import LocalStorage, PublishedFile, Storage
from schemas.errors import ClipmillError, ErrorCode
from streams.observability.metrics import FILES_REMOVED, FILES_REMOVED_BYTES, STORED_FILES
from streams.settings import RetentionLimits, RetentionSettings
from tests.unit.agents.builders import VIDEO, Clock, make_settings, selected
from tests.unit.agents.download.test_agent import DownloadHarness

DAY = 86_400.0
NOW = 1_000 * DAY


class NoRecords:
    async def names(self, _folder: str) -> AsyncIterator[None]:
        no_records: tuple[None, ...] = ()
        for each in no_records:
            yield each


class FakeStorage:
    """Lists files that are in memory only."""

    def __init__(self, count: int, days: float) -> None:
        self.records = NoRecords()
        self.listed = 0
        self.in_use: set[str] = set()
        self.stored = {
            file.uri: file
            for number in range(count)
            if (
                file := PublishedFile(
                    uri=f"s3://clips/tiktok/{number}/{number}.play.mp4",
                    bytes=10,
                    published_at=NOW - days * DAY * number / count,
                )
            )
        }

    async def files(self) -> AsyncIterator[PublishedFile]:
        self.listed += 1
        for file in list(self.stored.values()):
            yield file

    async def expire(self, file: PublishedFile) -> bool:
        await asyncio.sleep(0)
        return file.uri not in self.in_use and self.stored.pop(file.uri, None) is not None


def value(metric: Any, *labels: str) -> float:
    return float((metric.labels(*labels) if labels else metric)._value.get())


def make_retention(
    storage: Any, clock: Clock | None = None, *, template: str | None = None, **settings: Any
) -> Retention:
    return Retention(
        cast(Storage, storage),
        RetentionSettings(**settings),
        template,
        clock=clock or Clock(NOW),
    )


async def test_hundred_thousand_files_are_reduced_over_a_year_of_checks() -> None:
    storage, clock = FakeStorage(100_000, 365), Clock(NOW)
    retention = make_retention(storage, clock, days=30, bytes=50_000)
    checks = 0
    before = value(FILES_REMOVED, "age"), value(FILES_REMOVED, "bytes")
    while not await retention.check():
        checks += 1
    assert checks == 9
    assert sum(file.bytes for file in storage.stored.values()) == 50_000
    assert min(file.published_at for file in storage.stored.values()) > NOW - 30 * DAY
    removed = value(FILES_REMOVED, "age") - before[0], value(FILES_REMOVED, "bytes") - before[1]
    assert sum(removed) == 95_000
    assert removed[0] == pytest.approx(100_000 * 335 / 365, abs=2)
    clock.now += 20 * DAY
    assert await retention.check()
    oldest = min(file.published_at for file in storage.stored.values())
    assert oldest > clock.now - 30 * DAY
    assert storage.listed == 11


async def test_file_of_the_last_hour_stays_whatever_the_limits() -> None:
    storage = FakeStorage(100, PROTECTED_SECONDS * 2 / DAY)
    await make_retention(storage, days=0.000001, bytes=1).check()
    assert len(storage.stored) == 50
    assert value(STORED_FILES) == 100


async def test_files_in_use_do_not_repeat_the_check_at_once() -> None:
    storage = FakeStorage(FILES_MAX + 10, 365)
    storage.in_use = set(storage.stored)
    assert await make_retention(storage, bytes=1).check()
    storage.in_use.clear()
    assert not await make_retention(storage, bytes=1).check()
    bytes_before = value(FILES_REMOVED_BYTES, "bytes")
    assert await make_retention(storage, bytes=1).check()
    assert value(FILES_REMOVED_BYTES, "bytes") == bytes_before + 80


async def test_checks_repeat_across_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FILES_MAX", 5)
    storage, waits = FakeStorage(16, 365), list[float]()

    async def fails() -> AsyncIterator[PublishedFile]:
        raise ClipmillError(ErrorCode.SYSTEM_STORAGE, "away")
        yield

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            monkeypatch.setattr(storage, "files", files)
        if len(waits) == 6:
            raise asyncio.CancelledError

    files = storage.files
    monkeypatch.setattr(storage, "files", fails)
    task = Retention(
        cast(Storage, storage),
        RetentionSettings(bytes=20, check_seconds=60),
        None,
        clock=Clock(NOW),
        sleep=sleep,
    )
    with pytest.raises(asyncio.CancelledError):
        await task.run()
    assert 0 <= waits[0] <= 60
    assert waits[1:] == [60, 1, 1, 60, 60]
    assert len(storage.stored) == 2


# A directory


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[LocalStorage]:
    async with LocalStorage.open(tmp_path) as storage:
        yield storage


async def publish(storage: LocalStorage, age_days: float, **changes: str) -> str:
    names: dict[str, Any] = {
        "platform": "tiktok",
        "video_id": "7",
        "format_id": "play",
        "extension": "mp4",
    }
    async with storage.workspace() as directory:
        path = directory / "part"
        path.write_bytes(b"0123456789")
        uri = await storage.publish(path, **(names | changes), sha256="00")
    moment = NOW - age_days * DAY
    os.utime(path_of(uri), (moment, moment))
    return uri


def path_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


async def test_limits_of_platform_and_requester_apply(storage: LocalStorage) -> None:
    rules: dict[str, Any] = {
        "days": 30,
        "platforms": {"x": RetentionLimits(days=5)},
        "attribute": "customer",
        "requesters": {"acme": RetentionLimits(days=100)},
    }
    uris = {
        name: await publish(storage, 50, video_id=name, platform=platform)
        for name, platform in (("acme", "tiktok"), ("other", "tiktok"), ("none", "x"))
    }
    uris["young"] = await publish(storage, 10, video_id="young")
    uris["x"] = await publish(storage, 10, video_id="xx", platform="x")
    for customer in ("acme", "other"):
        requester = requester_id("customer", customer)
        await record_requester(storage.records, requester, "tiktok", customer)
    assert await make_retention(storage, **rules).check()
    kept = {name for name, uri in uris.items() if path_of(uri).exists()}
    assert kept == {"acme", "young"}


async def test_file_that_is_read_stays(storage: LocalStorage) -> None:
    read, other = [await publish(storage, 50, video_id=name) for name in ("a", "b")]
    async with LocalStorage.open(storage._files.parent) as worker, worker.reading(read):
        await make_retention(storage, days=30).check()
        assert [path_of(uri).exists() for uri in (read, other)] == [True, False]
    await make_retention(storage, days=30).check()
    assert not path_of(read).exists()


async def test_file_that_was_replaced_after_the_listing_stays(storage: LocalStorage) -> None:
    uri = await publish(storage, 50)
    (listed,) = [file async for file in storage.files()]
    await publish(storage, 0)
    assert not await storage.expire(listed)
    assert path_of(uri).exists()


async def test_file_that_cannot_be_removed_stops_no_other(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, other = [await publish(storage, 50, video_id=name) for name in ("a", "b")]
    expire = storage.expire

    async def fails_for_one(file: PublishedFile) -> bool:
        if file.uri == stays:
            raise ClipmillError(ErrorCode.SYSTEM_STORAGE, "denied")
        return await expire(file)

    monkeypatch.setattr(storage, "expire", fails_for_one)
    assert await make_retention(storage, days=30).check()
    assert [path_of(uri).exists() for uri in (stays, other)] == [True, False]


async def test_two_workers_remove_each_file_once(storage: LocalStorage) -> None:
    for number in range(200):
        await publish(storage, 50, video_id=str(number))
    before = value(FILES_REMOVED, "age")
    async with LocalStorage.open(storage._files.parent) as other:
        await asyncio.gather(*(make_retention(it, days=30).check() for it in (storage, other)))
    assert [file async for file in storage.files()] == []
    assert value(FILES_REMOVED, "age") == before + 200


# Requests


async def test_requester_is_recorded_once_for_each_post(
    storage: LocalStorage, tmp_path: Path
) -> None:
    settings = make_settings(
        data_dir=tmp_path,
        storage={
            "retention": {
                "attribute": "customer",
                "requesters": {"acme": {"days": 30}, "nobody": {"days": 30}},
            }
        },
    )
    harness = DownloadHarness(storage, settings)
    ids = {name: requester_id("customer", name) for name in ("acme", "other", "nobody")}
    for name in ("acme", "other", "acme"):
        await harness.run(selected(attributes={"customer": name, "note": "x"}))
    await harness.run(selected(attributes={}))
    found = await requesters_by_post(storage.records, ids.values())
    assert found == {VIDEO.key: (ids["acme"],)}
    assert len([it async for it in storage.records.names(".requesters")]) == 1


async def test_removed_file_is_downloaded_again(storage: LocalStorage, tmp_path: Path) -> None:
    harness = DownloadHarness(storage, make_settings(data_dir=tmp_path))
    await harness.run(selected())
    (file,) = [file async for file in storage.files()]
    os.utime(path_of(file.uri), (NOW, NOW))
    await make_retention(storage, Clock(NOW + 31 * DAY), days=30).check()
    assert not path_of(file.uri).exists()
    await harness.run(selected())
    assert path_of(file.uri).exists()
    assert len(harness.fetcher.limits) == 2
