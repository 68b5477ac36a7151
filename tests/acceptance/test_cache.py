"""Cache hits cause no requests: the stand-in counts every page and every file."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import pytest_asyncio

from tests.acceptance.client import PipelineClient, page
from tests.pipeline_process import PipelineProcess, Process
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONCE = {"page": 1, "media": 1}


def small(serial: int) -> str:
    return video_id("kilobytes", param=16, serial=serial)


async def test_metadata_request_is_answered_from_the_cache(client: PipelineClient) -> None:
    video = small(1)
    first = await client.request(page(video), action="info")
    again = await client.request(page(video, "somebody.else"), action="info")
    assert (first["cache"], again["cache"]) == ("miss", "hit")
    assert again["video"]["formats"] == first["video"]["formats"]
    assert client.request_counts(video) == {"page": 1}


async def test_stored_file_is_reused(client: PipelineClient) -> None:
    video = small(2)
    first, again = await client.request(page(video)), await client.request(page(video))
    assert not first["files"][0]["reused"]
    assert again["files"][0] == {**first["files"][0], "reused": True}
    assert client.request_counts(video) == ONCE


async def test_download_uses_cached_metadata(client: PipelineClient) -> None:
    video = small(3)
    await client.request(page(video), action="info")
    assert (await client.request(page(video)))["cache"] == "hit"
    assert client.request_counts(video) == ONCE


async def test_two_qualities_share_one_extraction(client: PipelineClient) -> None:
    video = video_id(serial=4)
    best = await client.request(page(video))
    worst = await client.request(page(video), options={"quality": "worst"})
    assert best["files"][0]["uri"] != worst["files"][0]["uri"]
    assert client.request_counts(video) == {"page": 1, "media": 2}


@pytest.mark.parametrize("count", [2, 20])
async def test_concurrent_requests_share_one_extraction_and_one_download(
    count: int, client: PipelineClient, pipeline: PipelineProcess
) -> None:
    # Page and media take a second each: the other requests arrive meanwhile.
    video = video_id("media.takes", param=1, serial=count)
    pipeline.standin.switch("page.slow", param=500, video=video)
    results = await asyncio.gather(*(client.request(page(video)) for _ in range(count)))
    assert {each["status"] for each in results} == {"completed"}
    assert len({each["files"][0]["sha256"] for each in results}) == 1
    assert sorted(each["files"][0]["reused"] for each in results) == [False, *[True] * (count - 1)]
    assert sorted(each["cache"] for each in results) == [*["hit"] * (count - 1), "miss"]
    assert client.request_counts(video) == ONCE


async def test_refresh_bypasses_the_caches(client: PipelineClient) -> None:
    video = small(6)
    await client.request(page(video))
    fresh = await client.request(page(video), options={"refresh": True})
    assert (fresh["cache"], fresh["files"][0]["reused"]) == ("miss", False)
    assert client.request_counts(video) == {"page": 2, "media": 2}


async def test_deleted_file_is_downloaded_again(client: PipelineClient) -> None:
    video = small(7)
    file = (await client.request(page(video)))["files"][0]
    path_of_uri(file["uri"]).unlink()
    assert (await client.request(page(video)))["files"] == [file]
    assert path_of_uri(file["uri"]).stat().st_size == file["bytes"]
    assert client.request_counts(video) == {"page": 1, "media": 2}


async def test_truncated_file_is_downloaded_again(client: PipelineClient) -> None:
    video = small(8)
    file = (await client.request(page(video)))["files"][0]
    path_of_uri(file["uri"]).write_bytes(b"not all of it")
    assert (await client.request(page(video)))["files"] == [file]
    assert path_of_uri(file["uri"]).stat().st_size == file["bytes"]


def path_of_uri(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


@pytest.mark.parametrize("action", ["info", "download"])
async def test_not_found_video_is_cached_until_a_refresh(
    action: str, client: PipelineClient, pipeline: PipelineProcess
) -> None:
    """Until a refresh: a video that is available again is fetched and cached."""
    video = small(20 + len(action))
    pipeline.standin.switch("deleted", video=video, times=1)
    first = await client.request(page(video), action=action)
    again = await client.request(page(video), action=action)
    assert (first["status"], again["status"]) == ("failed", "failed")
    assert again["error"]["error_type"] == "content.not_found"
    assert "remembered_since" in again["error"]["technical_details"]
    assert client.request_counts(video) == {"page": 1}
    fresh = await client.request(page(video), action=action, options={"refresh": True})
    assert (fresh["status"], fresh["cache"]) == ("completed", "miss")
    assert (await client.request(page(video), action=action))["cache"] == "hit"
    assert client.request_counts(video)["page"] == 2


async def test_refresh_command_invalidates_a_cached_failure(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    video = small(26)
    pipeline.standin.switch("private", video=video, times=1)
    assert (await client.request(page(video), action="info"))["status"] == "failed"
    status, _, errors = await pipeline.clipmill("refresh", f"tiktok:{video}")
    assert (status, errors) == (0, "")
    assert (await client.request(page(video), action="info"))["status"] == "completed"


async def test_expired_media_links_invalidate_the_cached_page(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    video = small(27)
    await client.request(page(video), action="info")
    pipeline.standin.switch("media.expired", video=video)
    result = await client.request(page(video))
    assert (result["status"], result["cache"]) == ("completed", "miss")
    assert [each["strategy"] for each in result["recovery"]] == ["fresh_extraction"]
    assert client.request_counts(video)["page"] == 2


PAGE_ONLY = small(30)
WHOLE = tuple(small(number) for number in range(31, 40))
"""Videos that were downloaded before the worker was killed."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def restarted(client: PipelineClient, pipeline: PipelineProcess) -> AsyncIterator[Process]:
    """A worker started after the previous one was killed (SIGKILL) with these videos cached."""
    await client.request(page(PAGE_ONLY), action="info")
    await asyncio.gather(*(client.request(page(video)) for video in WHOLE))
    pipeline.workers[0].kill()
    yield await pipeline.start_worker("all")


@pytest.mark.usefixtures("restarted")
async def test_cached_pages_survive_a_kill(client: PipelineClient) -> None:
    assert (await client.request(page(PAGE_ONLY), action="info"))["cache"] == "hit"
    assert (await client.request(page(PAGE_ONLY)))["cache"] == "hit"
    assert client.request_counts(PAGE_ONLY) == ONCE


@pytest.mark.usefixtures("restarted")
async def test_stored_files_are_reused_after_a_kill(client: PipelineClient) -> None:
    results = await asyncio.gather(*(client.request(page(video)) for video in WHOLE))
    assert all(each["files"][0]["reused"] for each in results)
    assert [client.request_counts(video) for video in WHOLE] == [ONCE] * len(WHOLE)


@pytest.mark.usefixtures("restarted")
async def test_cache_lookups_are_counted(client: PipelineClient) -> None:
    found = await client.metrics()
    assert found["clipmill_cache_requests_total"] >= 4
    assert {"clipmill_cache_entries", "clipmill_cache_bytes"} <= found.keys()
