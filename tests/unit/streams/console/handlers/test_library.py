"""The library of the console, over HTTP."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from streams.console.rendering import format_size
from streams.history.changes import HistoryFile
from tests.unit.streams.console.consoles import CHANGES, HOSTILE, running_console
from tests.unit.streams.console.test_pages import Links

VIDEO = HistoryFile(uri="file:///files/7.mp4", bytes=2_000, mime_type="video/mp4")
SOUND = HistoryFile(uri="file:///files/7.m4a", bytes=500, mime_type="audio/mp4")
ELSEWHERE = HistoryFile(uri="s3://bucket/8.mp4", bytes=7, mime_type="video/mp4")
FETCHED = (
    replace(CHANGES[0], files=(VIDEO,), author="ann", title="a clip"),
    replace(CHANGES[0], request_id="sound", files=(SOUND, VIDEO), received_at=1.5),
    replace(CHANGES[2], request_id="far", files=(ELSEWHERE,), author=HOSTILE, title=HOSTILE),
    CHANGES[1],
)


async def library(directory: Path, query: str = "") -> Any:
    async with running_console(directory, *FETCHED) as client:
        response = await client.get(f"/api/v1/library?{query}")
        assert response.status == 200
        return await response.json()


@pytest.mark.parametrize(
    ("query", "ids", "size"),
    [
        ("", ["far", "sound", "done"], 4_507),
        ("author=ann&title=CLIP", ["done"], 2_000),
        ("title=&platform=tiktok", ["sound", "done"], 4_500),
        ("until=1970-01-01T00:00:01.2Z", ["done"], 2_000),
        ("author=nobody", [], 0),
    ],
)
async def test_requests_with_files_are_listed_and_summed(
    tmp_path: Path, query: str, ids: list[str], size: int
) -> None:
    body = await library(tmp_path, query)
    assert [each["id"] for each in body["requests"]] == ids
    assert body["totals"] == {"requests": len(ids), "bytes": size}


async def test_next_page_keeps_the_filters(tmp_path: Path) -> None:
    body = await library(tmp_path, "platform=tiktok&limit=1")
    assert body["next"].startswith("library?platform=tiktok&limit=1&after=")
    body = await library(tmp_path, body["next"].partition("?")[2])
    assert [each["id"] for each in body["requests"]] == ["done"]


@pytest.mark.parametrize("path", ["/library", "/api/v1/library"])
@pytest.mark.parametrize("query", ["state=failed", "until=soon", "limit=0", "after=x"])
async def test_malformed_parameter_is_rejected(tmp_path: Path, path: str, query: str) -> None:
    async with running_console(tmp_path) as client:
        response = await client.get(f"{path}?{query}")
        assert response.status == 400
        assert query.partition("=")[0] in await response.text()


async def test_page_plays_files_of_this_host_only(tmp_path: Path) -> None:
    async with running_console(tmp_path, *FETCHED) as client:
        page = await (await client.get("/library")).text()
    assert '<video controls preload="metadata" src="file?id=done&amp;n=0&amp;inline"' in page
    assert '<audio controls preload="none" src="file?id=sound&amp;n=0&amp;inline"' in page
    assert 'src="file?id=far' not in page
    text = Links(page).text
    assert "3 requests with files, 4.5 kB in all" in text
    assert HOSTILE in text
    assert Links(page).scripts == ["static/theme.js", "static/console.js"]


async def test_page_without_files_says_so(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        assert "No stored file matches." in await (await client.get("/library")).text()


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (999, "999 B"), (2_000_457, "2.0 MB"), (10**13, "10.0 TB"), (2**63, "9,223.4 PB")],
)
def test_size_has_a_decimal_unit(octets: int, text: str) -> None:
    assert format_size(octets) == text
