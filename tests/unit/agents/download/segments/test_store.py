import os
import time
from contextlib import suppress
from pathlib import Path

from agents.download.segments.store import KEPT_SECONDS, SegmentStore, sweep


async def fail(store: SegmentStore, format_id: str) -> Path:
    """Fail while the directory of a format is leased, with a segment in it."""
    directory = None
    with suppress(ConnectionError):
        async with store.lease("tiktok:1", format_id) as directory:
            (directory / "0").write_bytes(b"segment")
            raise ConnectionError
    assert directory is not None
    return directory


async def test_directory_is_kept_after_a_failure_and_removed_after_success(tmp_path: Path) -> None:
    store = SegmentStore(tmp_path)
    directory = await fail(store, "hls")
    async with store.lease("tiktok:1", "hls") as again:
        assert again == directory
        assert (again / "0").read_bytes() == b"segment"
    assert not again.exists()


async def test_formats_and_videos_have_directories_of_their_own(tmp_path: Path) -> None:
    store = SegmentStore(tmp_path)
    names = [("tiktok:1", "a"), ("tiktok:1", "b"), ("tiktok:2", "a")]
    found = set()
    for video_key, format_id in names:
        async with store.lease(video_key, format_id) as directory:
            found.add(directory)
    assert len(found) == 3


async def test_leased_directory_is_not_shared(tmp_path: Path) -> None:
    async with SegmentStore(tmp_path).lease("tiktok:1", "a") as first:
        async with SegmentStore(tmp_path).lease("tiktok:1", "a") as second:
            assert first != second
        assert not second.exists()
        assert first.exists()


async def test_old_directories_are_removed(tmp_path: Path) -> None:
    store, now = SegmentStore(tmp_path), time.time()
    old, new = await fail(store, "old"), await fail(store, "new")
    os.utime(old, (now - KEPT_SECONDS - 1,) * 2)
    async with store.lease("tiktok:1", "leased") as leased:
        os.utime(leased, (now - KEPT_SECONDS - 1,) * 2)
        sweep(tmp_path, now)
        assert leased.exists()
    assert not old.exists()
    assert new.exists()


def test_sweep_without_a_directory_does_nothing(tmp_path: Path) -> None:
    sweep(tmp_path / "none", 0.0)
