from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

import pytest

from agents.storage import LocalStorage, Records
from agents.storage.withheld_posts import find_withheld, release, withheld_keys, withhold
from schemas.errors import ClipmillError


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Records]:
    async with LocalStorage.open(tmp_path) as storage:
        yield storage.records


async def test_post_is_withheld_until_it_is_released(records: Records) -> None:
    assert await find_withheld(records, "tiktok", "7") is None
    await withhold(records, "tiktok", "7", "archived")
    post = await find_withheld(records, "tiktok", "7")
    assert post is not None
    assert post.cause == "archived"
    assert [key async for key in withheld_keys(records)] == ["tiktok:7"]
    await release(records, "tiktok", "7")
    assert await find_withheld(records, "tiktok", "7") is None


@pytest.mark.parametrize("content", [b"", b"{}", b'{"cause": "x"}', b"\xff"])
async def test_malformed_record_withholds_its_post(content: bytes, records: Records) -> None:
    await records.write(PurePosixPath(".withheld/tiktok/7.json"), content)
    post = await find_withheld(records, "tiktok", "7")
    assert post is not None
    assert post.cause == "removed"


async def test_record_is_small(records: Records, tmp_path: Path) -> None:
    await withhold(records, "tiktok", "7" * 19, "removed")
    (path,) = (tmp_path / "files/.withheld").rglob("*.json")
    assert path.stat().st_size < 70


@pytest.mark.parametrize(("platform", "video_id"), [("..", "7"), ("tiktok", "../7"), ("x", "")])
async def test_unsafe_names_are_refused(platform: str, video_id: str, records: Records) -> None:
    for call in (find_withheld, release):
        with pytest.raises(ClipmillError):
            await call(records, platform, video_id)
    with pytest.raises(ClipmillError):
        await withhold(records, platform, video_id, "removed")
