import asyncio
import errno
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from agents.storage.errors import FileGoneError
from agents.storage.interface import Storage
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


async def publish(storage: Storage, content: bytes, **changes: str) -> str:
    names = {"platform": "tiktok", "video_id": VIDEO, "format_id": "play", "extension": "mp4"}
    async with storage.workspace() as directory:
        path = directory / "part"
        path.write_bytes(content)
        return await storage.publish(path, **(names | changes))


def visible(root: Path) -> list[str]:
    files = root / "files"
    return sorted(str(path.relative_to(files)) for path in files.rglob("*") if path.is_file())


def path_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


async def test_a_published_file_is_found_under_its_uri(storage: Storage, root: Path) -> None:
    uri = await publish(storage, b"bytes")
    assert uri.startswith("file:///")
    assert path_of(uri) == root / f"files/tiktok/{VIDEO}/{VIDEO}.play.mp4"
    assert path_of(uri).read_bytes() == b"bytes"
    assert await storage.stat(uri) == 5
    assert visible(root) == [f"tiktok/{VIDEO}/{VIDEO}.play.mp4"]


async def test_the_same_names_replace_the_file(storage: Storage) -> None:
    first = await publish(storage, b"old")
    with path_of(first).open("rb") as still_reading:
        assert await publish(storage, b"newer") == first
        assert still_reading.read() == b"old"
    assert path_of(first).read_bytes() == b"newer"


async def test_formats_stand_beside_each_other(storage: Storage, root: Path) -> None:
    uris = {await publish(storage, b"x", format_id=each) for each in ("a", "b", "a+b", "a/b")}
    assert len(uris) == 4
    assert len(visible(root)) == 4
    assert [await storage.stat(uri) for uri in uris] == [1, 1, 1, 1]


async def test_a_workspace_is_private_and_gone_at_the_end(storage: Storage, root: Path) -> None:
    async with storage.workspace() as one, storage.workspace() as two:
        assert one != two
        assert one.is_relative_to(root / "tmp")
        assert one.stat().st_mode & 0o777 == 0o700
        (one / "deep").mkdir()
        (one / "deep" / "half").touch()
    assert not one.exists()
    assert not two.exists()
    assert visible(root) == []


async def test_a_failed_job_leaves_nothing(storage: Storage, root: Path) -> None:
    used: list[Path] = []

    async def job() -> None:
        async with storage.workspace() as directory:
            used.append(directory)
            (directory / "half").write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        await job()
    assert visible(root) == []
    assert not used[0].exists()


async def test_closing_leaves_only_finished_files(root: Path) -> None:
    async with LocalStorage.open(root) as storage:
        await publish(storage, b"x")
    assert list((root / "tmp").iterdir()) == []
    assert len(visible(root)) == 1


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
async def test_names_that_lead_elsewhere_are_refused(
    changes: dict[str, str], storage: Storage, root: Path
) -> None:
    with pytest.raises(ClipmillError) as caught:
        await publish(storage, b"x", **changes)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
    assert visible(root) == []


@pytest.mark.parametrize("linked", ["tiktok", f"tiktok/{VIDEO}"])
async def test_a_link_out_of_the_store_is_not_followed(
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


async def test_a_store_behind_a_link_works(tmp_path: Path) -> None:
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
            )
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE


async def test_what_is_not_in_the_store_has_no_size(
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


async def test_a_deleted_file_has_no_size(storage: Storage) -> None:
    uri = await publish(storage, b"x")
    path_of(uri).unlink()
    assert await storage.stat(uri) is None


async def test_free_space_is_told(storage: Storage, root: Path) -> None:
    free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
    assert 0 < await storage.free_bytes() <= free * 2


@pytest.mark.parametrize("blocked", [".", "files", "tmp"])
async def test_a_root_that_cannot_be_used_is_named(blocked: str, tmp_path: Path) -> None:
    root = tmp_path / "store"
    in_the_way = root / blocked
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_bytes(b"a file")
    with pytest.raises(ClipmillError, match="store") as caught:
        async with LocalStorage.open(root):
            pass
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE


async def test_the_file_and_its_directories_are_durable_before_the_uri_is_told(
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
async def test_errors_while_publishing_are_told(
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
    assert visible(root) == []


async def test_many_jobs_at_once_do_not_disturb_each_other(storage: Storage) -> None:
    uris = await asyncio.gather(
        *(publish(storage, str(each).encode(), format_id=str(each % 4)) for each in range(32))
    )
    assert len(set(uris)) == 4
    assert all(int(path_of(uri).read_bytes()) % 4 == int(uri.split(".")[-2]) for uri in uris)


def everything(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


def unmount(root: Path) -> Path:
    """Take the store away; an unmounted file system leaves an empty directory."""
    elsewhere = root.rename(root.with_name("elsewhere"))
    root.mkdir()
    return elsewhere


def mount(elsewhere: Path, root: Path) -> None:
    root.rmdir()
    elsewhere.rename(root)


async def test_a_probe_leaves_nothing_behind(storage: Storage, root: Path) -> None:
    before = everything(root)
    await storage.probe()
    assert everything(root) == before


async def away(storage: Storage) -> ErrorCode:
    with pytest.raises(ClipmillError) as caught:
        await storage.probe()
    with pytest.raises(ClipmillError) as asked:
        await storage.free_bytes()
    assert asked.value.code is caught.value.code
    return caught.value.code


async def test_a_store_that_is_away_is_not_made_anew(storage: Storage, root: Path) -> None:
    elsewhere = unmount(root)
    assert await away(storage) is ErrorCode.SYSTEM_STORAGE
    assert everything(root) == []
    mount(elsewhere, root)
    await storage.probe()
    await publish(storage, b"bytes")


async def test_something_else_in_its_place_is_no_store(storage: Storage, root: Path) -> None:
    (root / "files").rmdir()
    (root / "files").write_text("no directory")
    assert await away(storage) is ErrorCode.SYSTEM_STORAGE


async def test_a_workers_lost_directory_is_made_again(storage: Storage, root: Path) -> None:
    shutil.rmtree(root / "tmp")
    with pytest.raises(ClipmillError):
        await publish(storage, b"bytes")
    await storage.probe()
    await publish(storage, b"bytes")
    assert visible(root) == [f"tiktok/{VIDEO}/{VIDEO}.play.mp4"]


async def test_directories_made_again_are_gone_at_the_end(root: Path) -> None:
    async with LocalStorage.open(root) as storage:
        shutil.rmtree(root / "tmp")
        await storage.probe()
        assert len(list((root / "tmp").iterdir())) == 1
    assert list((root / "tmp").iterdir()) == []


# Found by its names


NAMES = {"platform": "tiktok", "video_id": VIDEO, "format_id": "play"}


async def test_a_published_file_is_found_by_its_names(storage: Storage) -> None:
    before = time.time()
    uri = await publish(storage, b"bytes")
    found = await storage.find(**NAMES)
    assert found is not None
    assert (found.uri, found.bytes) == (uri, 5)
    assert before - 1 <= found.published_at <= time.time() + 1
    async with storage.reading(uri) as path:
        assert path.read_bytes() == b"bytes"


@pytest.mark.parametrize("extension", ["m4a", "jpeg", "mp3"])
async def test_the_newest_is_found_whatever_its_extension(extension: str, storage: Storage) -> None:
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


async def test_what_is_not_published_is_not_found(storage: Storage) -> None:
    async with storage.workspace() as directory:
        (directory / "media").write_bytes(b"half")
        assert await storage.find(**NAMES) is None


async def test_names_that_are_none_find_nothing(storage: Storage) -> None:
    with pytest.raises(ClipmillError) as caught:
        await storage.find(**(NAMES | {"video_id": "../../etc"}))
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED


async def test_a_link_out_of_the_store_is_not_found(
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


async def test_a_file_that_was_removed_is_told_from_a_store_that_fails(
    storage: Storage, root: Path
) -> None:
    uri = await publish(storage, b"bytes")
    (root / "files" / "tiktok" / VIDEO / f"{VIDEO}.play.mp4").unlink()
    with pytest.raises(FileGoneError, match="play"):
        async with storage.reading(uri):
            pass
