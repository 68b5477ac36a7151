import asyncio
import errno
import hashlib
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from agents.storage.interface import FileGoneError, Storage
from agents.storage.local import LocalStorage
from schemas.errors import ClipmillError, ErrorCode

VIDEO = "7608826249200356630"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "media & more"


@pytest.fixture
async def storage(root: Path) -> AsyncIterator[Storage]:
    async with LocalStorage.open(root) as opened:
        yield opened


async def publish(storage: Storage, content: bytes, **changes: Any) -> str:
    names: dict[str, Any] = {
        "platform": "tiktok",
        "video_id": VIDEO,
        "format_id": "play",
        "extension": "mp4",
    }
    async with storage.workspace() as directory:
        path = directory / "part"
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        return await storage.publish(path, **(names | changes), sha256=digest)


def published_files(root: Path) -> list[str]:
    files = root / "files"
    return sorted(str(path.relative_to(files)) for path in files.rglob("*") if path.is_file())


def path_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


async def test_published_file_is_at_its_uri(storage: Storage, root: Path) -> None:
    uri = await publish(storage, b"bytes")
    assert uri.startswith("file:///")
    assert path_of(uri) == root / f"files/tiktok/{VIDEO}/{VIDEO}.play.mp4"
    assert path_of(uri).read_bytes() == b"bytes"
    assert await storage.stat(uri) == 5
    assert published_files(root) == [f"tiktok/{VIDEO}/{VIDEO}.play.mp4"]


async def test_same_names_replace_the_file(storage: Storage) -> None:
    first = await publish(storage, b"old")
    with path_of(first).open("rb") as still_reading:
        assert await publish(storage, b"newer") == first
        assert still_reading.read() == b"old"
    assert path_of(first).read_bytes() == b"newer"


async def test_formats_of_a_video_are_separate_files(storage: Storage, root: Path) -> None:
    uris = {await publish(storage, b"x", format_id=each) for each in ("a", "b", "a+b", "a/b")}
    assert len(uris) == 4
    assert len(published_files(root)) == 4
    assert [await storage.stat(uri) for uri in uris] == [1, 1, 1, 1]


async def test_workspace_is_private_and_removed_at_the_end(storage: Storage, root: Path) -> None:
    async with storage.workspace() as one, storage.workspace() as two:
        assert one != two
        assert one.is_relative_to(root / "tmp")
        assert one.stat().st_mode & 0o777 == 0o700
        (one / "deep").mkdir()
        (one / "deep" / "half").touch()
    assert not one.exists()
    assert not two.exists()
    assert published_files(root) == []


async def test_failed_job_leaves_no_file(storage: Storage, root: Path) -> None:
    used: list[Path] = []

    async def job() -> None:
        async with storage.workspace() as directory:
            used.append(directory)
            (directory / "half").write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        await job()
    assert published_files(root) == []
    assert not used[0].exists()


async def test_close_leaves_only_published_files(root: Path) -> None:
    async with LocalStorage.open(root) as storage:
        await publish(storage, b"x")
    assert list((root / "tmp").iterdir()) == []
    assert len(published_files(root)) == 1


async def test_two_workers_share_a_directory(root: Path) -> None:
    async with LocalStorage.open(root) as one, one.workspace() as kept:
        async with LocalStorage.open(root) as two:
            uri = await publish(two, b"x")
            assert kept.is_dir()
        assert await one.stat(uri) == 1
        assert kept.is_dir()


@pytest.mark.parametrize(
    "changes",
    [{"platform": ".."}, {"video_id": "../../x"}, {"extension": "mp4/../../x"}, {"video_id": ""}],
)
async def test_unsafe_names_are_refused(
    changes: dict[str, str], storage: Storage, root: Path
) -> None:
    with pytest.raises(ClipmillError) as caught:
        await publish(storage, b"x", **changes)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
    assert published_files(root) == []


@pytest.mark.parametrize("linked", ["tiktok", f"tiktok/{VIDEO}"])
async def test_symbolic_link_out_of_the_store_is_not_followed(
    linked: str, storage: Storage, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = root / "files" / linked
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(ClipmillError, match="remove the link") as caught:
        await publish(storage, b"x")
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE
    assert [path for path in outside.rglob("*") if path.is_file()] == []


async def test_store_behind_a_symbolic_link_works(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    async with LocalStorage.open(tmp_path / "link") as storage:
        uri = await publish(storage, b"x")
        assert path_of(uri).is_relative_to(tmp_path / "link")
        assert await storage.stat(uri) == 1


async def test_only_regular_files_are_published(storage: Storage, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch()
    async with storage.workspace() as directory:
        (directory / "part").symlink_to(secret)
        with pytest.raises(ClipmillError) as caught:
            await storage.publish(
                directory / "part",
                platform="tiktok",
                video_id=VIDEO,
                format_id="play",
                extension="mp4",
                sha256=hashlib.sha256(b"").hexdigest(),
            )
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE


async def test_file_outside_the_store_has_no_size(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(b"x")
    (root / "files" / "link").symlink_to(tmp_path / "other")
    uri = await publish(storage, b"x")
    for foreign in (
        (tmp_path / "other").as_uri(),
        (root / "files" / "link").as_uri(),
        path_of(uri).parent.as_uri(),
        f"{path_of(uri).parent.as_uri()}/../../../../other",
        f"{uri}/below",
        f"{uri}.gone",
        f"{uri}%00",
        uri.replace("file:///", "file://host/"),
        uri.replace("file:", "s3:"),
        "file:",
        "",
    ):
        assert await storage.stat(foreign) is None, foreign


async def test_deleted_file_has_no_size(storage: Storage) -> None:
    uri = await publish(storage, b"x")
    path_of(uri).unlink()
    assert await storage.stat(uri) is None


async def test_free_space_is_reported(storage: Storage, root: Path) -> None:
    free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
    assert 0 < await storage.free_bytes() <= free * 2


@pytest.mark.parametrize("blocked", [".", "files", "tmp"])
async def test_unusable_root_is_an_error_that_names_it(blocked: str, tmp_path: Path) -> None:
    root = tmp_path / "store"
    blocker = root / blocked
    blocker.parent.mkdir(parents=True, exist_ok=True)
    blocker.write_bytes(b"a file")
    with pytest.raises(ClipmillError, match="store") as caught:
        async with LocalStorage.open(root):
            pass
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE


async def test_file_and_directories_are_synced_before_the_uri_is_returned(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(number: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{number}').readlink().name}")
        real_sync(number)

    def replace(self: Path, target: Any) -> Path:
        steps.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    await publish(storage, b"x")
    assert steps == ["sync part", "sync files", "sync tiktok", "rename", f"sync {VIDEO}"]


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, ErrorCode.SYSTEM_DISK_FULL), (errno.EIO, ErrorCode.SYSTEM_STORAGE)],
)
async def test_publish_error_is_mapped_and_leaves_no_file(
    number: int,
    code: ErrorCode,
    storage: Storage,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(_: int) -> None:
        raise OSError(number, "the reason")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(ClipmillError, match="the reason") as caught:
        await publish(storage, b"x")
    assert caught.value.code is code
    assert published_files(root) == []


async def test_cancelled_publish_ends_before_the_workspace_is_removed(
    storage: Storage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, resume = threading.Event(), threading.Event()
    real_sync = os.fsync

    def slow(number: int) -> None:
        started.set()
        assert resume.wait(10)
        real_sync(number)

    monkeypatch.setattr(os, "fsync", slow)
    running = asyncio.create_task(publish(storage, b"whole"))
    await asyncio.to_thread(started.wait, 10)
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()
    resume.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert published_files(root) == [f"tiktok/{VIDEO}/{VIDEO}.play.mp4"]


async def test_concurrent_jobs_do_not_interfere(storage: Storage) -> None:
    uris = await asyncio.gather(
        *(publish(storage, str(each).encode(), format_id=str(each % 4)) for each in range(32))
    )
    assert len(set(uris)) == 4
    assert all(int(path_of(uri).read_bytes()) % 4 == int(uri.split(".")[-2]) for uri in uris)


def all_paths(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


def unmount(root: Path) -> Path:
    """Move the store away and leave an empty directory, as an unmounted file system does."""
    elsewhere = root.rename(root.with_name("elsewhere"))
    root.mkdir()
    return elsewhere


def mount(elsewhere: Path, root: Path) -> None:
    root.rmdir()
    elsewhere.rename(root)


async def test_probe_leaves_no_file(storage: Storage, root: Path) -> None:
    before = all_paths(root)
    await storage.probe()
    assert all_paths(root) == before


async def probe_error(storage: Storage) -> ErrorCode:
    with pytest.raises(ClipmillError) as caught:
        await storage.probe()
    with pytest.raises(ClipmillError) as second:
        await storage.free_bytes()
    assert second.value.code is caught.value.code
    return caught.value.code


async def test_unmounted_store_is_not_recreated(storage: Storage, root: Path) -> None:
    elsewhere = unmount(root)
    assert await probe_error(storage) is ErrorCode.SYSTEM_STORAGE
    assert all_paths(root) == []
    mount(elsewhere, root)
    await storage.probe()
    await publish(storage, b"bytes")


async def test_replaced_store_is_an_error(storage: Storage, root: Path) -> None:
    (root / "files").rmdir()
    (root / "files").write_text("no directory")
    assert await probe_error(storage) is ErrorCode.SYSTEM_STORAGE


async def test_lost_worker_directory_is_recreated(storage: Storage, root: Path) -> None:
    shutil.rmtree(root / "tmp")
    with pytest.raises(ClipmillError):
        await publish(storage, b"bytes")
    await storage.probe()
    await publish(storage, b"bytes")
    assert published_files(root) == [f"tiktok/{VIDEO}/{VIDEO}.play.mp4"]


async def test_recreated_directories_are_removed_at_the_end(root: Path) -> None:
    async with LocalStorage.open(root) as storage:
        shutil.rmtree(root / "tmp")
        await storage.probe()
        assert len(list((root / "tmp").iterdir())) == 1
    assert list((root / "tmp").iterdir()) == []


# Lookup by names


NAMES = {"platform": "tiktok", "video_id": VIDEO, "format_id": "play"}


async def test_published_file_is_found_by_its_names(storage: Storage) -> None:
    before = time.time()
    uri = await publish(storage, b"bytes")
    found = await storage.find(**NAMES)
    assert found is not None
    assert (found.uri, found.bytes) == (uri, 5)
    assert before - 1 <= found.published_at <= time.time() + 1
    async with storage.reading(uri) as path:
        assert path.read_bytes() == b"bytes"


@pytest.mark.parametrize("extension", ["m4a", "jpeg", "mp3"])
async def test_newest_file_of_any_extension_is_found(extension: str, storage: Storage) -> None:
    older = await publish(storage, b"older")
    os.utime(unquote(urlsplit(older).path), (1, 1))
    uri = await publish(storage, b"newer one", extension=extension)
    found = await storage.find(**NAMES)
    assert found is not None
    assert (found.uri, found.bytes) == (uri, 9)


@pytest.mark.parametrize("change", [{"format_id": "other"}, {"video_id": "1"}])
async def test_other_names_find_nothing(change: dict[str, str], storage: Storage) -> None:
    await publish(storage, b"bytes")
    assert await storage.find(**(NAMES | change)) is None


async def test_unpublished_file_is_not_found(storage: Storage) -> None:
    async with storage.workspace() as directory:
        (directory / "media").write_bytes(b"half")
        assert await storage.find(**NAMES) is None


async def test_lookup_by_unsafe_names_is_refused(storage: Storage) -> None:
    with pytest.raises(ClipmillError) as caught:
        await storage.find(**(NAMES | {"video_id": "../../etc"}))
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED


async def test_symbolic_link_out_of_the_store_is_not_found(
    storage: Storage, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = root / "files" / "tiktok" / VIDEO
    folder.mkdir(parents=True)
    (folder / f"{VIDEO}.play.mp4").symlink_to(tmp_path / "secret")
    assert await storage.find(**NAMES) is None


@pytest.mark.parametrize("uri", ["file:///etc/hostname", "s3://bucket/key", "file:///nowhere%00"])
async def test_only_files_of_the_store_can_be_read(uri: str, storage: Storage) -> None:
    with pytest.raises(FileGoneError):
        async with storage.reading(uri):
            pass


async def test_removed_file_is_gone_rather_than_a_storage_error(
    storage: Storage, root: Path
) -> None:
    uri = await publish(storage, b"bytes")
    (root / "files" / "tiktok" / VIDEO / f"{VIDEO}.play.mp4").unlink()
    with pytest.raises(FileGoneError, match="play"):
        async with storage.reading(uri):
            pass


async def test_files_at_any_depth_are_listed_without_hidden_ones(
    storage: Storage, root: Path
) -> None:
    uri = await publish(storage, b"x")
    files = root / "files"
    for name in ("flat.mp4", "a/b/c/deep.mp4", ".hidden/x.mp4", "a/.hidden.mp4"):
        path = files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (files / "link").symlink_to(files / "a")
    listed = {each.uri async for each in storage.files()}
    assert listed == {uri, (files / "flat.mp4").as_uri(), (files / "a/b/c/deep.mp4").as_uri()}
