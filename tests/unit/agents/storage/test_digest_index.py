import errno
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from agents.storage import LocalStorage

BYTES = b"the same bytes"
DIGEST = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[LocalStorage]:
    async with LocalStorage.open(tmp_path) as storage:
        yield storage


async def publish(
    storage: LocalStorage, video_id: str, content: bytes = BYTES, **changes: Any
) -> tuple[Path, Path | None]:
    """Publish a file; return its path, and that of the file whose bytes it shares."""
    digest = hashlib.sha256(content).hexdigest()
    names: dict[str, Any] = {"platform": "tiktok", "format_id": "play", "extension": "mp4"}
    async with storage.workspace() as directory:
        path = directory / "part"
        path.write_bytes(content)
        duplicate = await storage.link_duplicate(path, digest)
        uri = await storage.publish(path, video_id=video_id, sha256=digest, **(names | changes))
    return path_of(uri), None if duplicate is None else path_of(duplicate)


def path_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def entries(storage: LocalStorage) -> list[str]:
    directory = storage._files / ".digests"
    return sorted(str(it.readlink()) for it in directory.rglob("*") if it.is_symlink())


async def test_same_bytes_of_two_posts_are_stored_once(storage: LocalStorage) -> None:
    first, none = await publish(storage, "1")
    os.utime(first, (1, 1))
    second, duplicate = await publish(storage, "2")
    assert (none, duplicate) == (None, first)
    assert first.samefile(second)
    assert time.time() - second.stat().st_mtime < 60
    files = [file async for file in storage.files()]
    assert len({file.content for file in files}) == 1
    assert len(files) == 2
    assert entries(storage) == ["tiktok/1/1.play.mp4", "tiktok/2/2.play.mp4"]


async def test_removal_of_one_keeps_the_other(storage: LocalStorage) -> None:
    first, _ = await publish(storage, "1")
    second, _ = await publish(storage, "2")
    await storage.remove(first.as_uri())
    assert second.read_bytes() == BYTES
    third, duplicate = await publish(storage, "3")
    assert duplicate == second
    for path in (second, third):
        await storage.remove(path.as_uri())
    assert entries(storage) == []
    _, duplicate = await publish(storage, "4")
    assert duplicate is None


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1]])
async def test_any_name_that_is_left_is_found(order: list[int], storage: LocalStorage) -> None:
    paths = [(await publish(storage, str(number)))[0] for number in range(3)]
    for number in order[:2]:
        # Half of them by hand, not by the storage.
        if number:
            await storage.remove(paths[number].as_uri())
        else:
            paths[number].unlink()
    _, duplicate = await publish(storage, "9")
    assert duplicate == paths[order[2]]


async def test_other_bytes_are_not_linked(storage: LocalStorage) -> None:
    await publish(storage, "1")
    path, duplicate = await publish(storage, "2", b"the other ones")
    assert duplicate is None
    assert path.read_bytes() == b"the other ones"


def rewrite(path: Path) -> None:
    """Damage a file without a change of its size."""
    path.write_bytes(BYTES.swapcase())


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "change",
    [
        Path.unlink,
        rewrite,
        replace_by_link,
        replace_by_pipe,
        lambda path: path.write_bytes(b"x"),
        lambda path: shutil.rmtree(path.parent),
        lambda path: path.chmod(0),
    ],
)
async def test_stale_entry_is_not_trusted(
    change: Callable[[Path], Any], storage: LocalStorage
) -> None:
    first, _ = await publish(storage, "1")
    change(first)
    second, duplicate = await publish(storage, "2")
    if os.geteuid() or not first.is_file() or first.stat().st_mode & 0o777:
        assert duplicate is None
        assert second.stat().st_nlink == 1
    assert second.read_bytes() == BYTES
    third, _ = await publish(storage, "3")
    assert third.read_bytes() == BYTES


@pytest.mark.parametrize(
    "target",
    ["../../../../secret.mp4", "/etc/hostname", ".posts/secret.mp4", "out/secret.mp4", "."],
)
async def test_entry_that_leads_elsewhere_is_not_used(
    target: str, storage: LocalStorage, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for place in (outside, storage._files / ".posts", tmp_path.parent):
        place.mkdir(exist_ok=True)
        (place / "secret.mp4").write_bytes(BYTES)
    (storage._files / "out").symlink_to(outside)
    entry = storage._files / ".digests" / DIGEST[:2] / DIGEST
    entry.parent.mkdir(parents=True)
    entry.symlink_to(target)
    path, duplicate = await publish(storage, "1")
    assert duplicate is None
    assert path.stat().st_nlink == 1
    assert entries(storage) == ["tiktok/1/1.play.mp4"]


async def test_replaced_file_leaves_no_entry(storage: LocalStorage) -> None:
    await publish(storage, "1")
    await publish(storage, "1", b"newer")
    path = storage._files / ".digests" / DIGEST[:2] / DIGEST
    assert not path.is_symlink()
    (listed,) = [file async for file in storage.files()]
    assert await storage.expire(listed)
    assert entries(storage) == []


async def test_file_that_is_published_again_is_its_own_duplicate(storage: LocalStorage) -> None:
    first, _ = await publish(storage, "1")
    os.utime(first, (1, 1))
    again, duplicate = await publish(storage, "1")
    assert first == again == duplicate
    assert again.stat().st_nlink == 1
    assert time.time() - again.stat().st_mtime < 60


@pytest.mark.parametrize("number", [errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EIO])
async def test_file_system_without_links_stores_the_bytes_again(
    number: int, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(storage, "1")

    def fails(*_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", fails)
    path, duplicate = await publish(storage, "2")
    assert (path.read_bytes(), duplicate) == (BYTES, None)


async def test_index_that_cannot_be_written_fails_no_publication(storage: LocalStorage) -> None:
    (storage._files / ".digests").write_text("no directory")
    for video_id in ("1", "2"):
        path, duplicate = await publish(storage, video_id)
        assert (path.read_bytes(), duplicate) == (BYTES, None)
    await storage.restore_index()


async def test_lost_index_is_rebuilt_once(storage: LocalStorage) -> None:
    first, _ = await publish(storage, "1")
    await publish(storage, "2", b"other")
    await storage.restore_index()
    shutil.rmtree(storage._files / ".digests")
    async with LocalStorage.open(storage._files.parent) as restarted:
        await restarted.restore_index()
        assert entries(restarted) == ["tiktok/1/1.play.mp4", "tiktok/2/2.play.mp4"]
        _, duplicate = await publish(restarted, "3")
        assert duplicate == first
        for each in (restarted._files / ".digests").rglob("*"):
            if each.is_symlink():
                each.unlink()
        await restarted.restore_index()
        assert entries(restarted) == []


@pytest.mark.parametrize("digest", ["", "../" * 22, "AB" * 32, "0" * 63])
async def test_malformed_digest_is_no_entry(digest: str, storage: LocalStorage) -> None:
    async with storage.workspace() as directory:
        (directory / "part").write_bytes(BYTES)
        assert await storage.link_duplicate(directory / "part", digest) is None
    assert not (storage._files / ".digests").exists()
