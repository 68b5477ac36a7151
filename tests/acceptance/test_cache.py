"""What is known is not asked for again: the stand-in counts every page and every file."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import pytest_asyncio

from tests.acceptance.desk import Desk, page
from tests.house import House, Process
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONCE = {"page": 1, "media": 1}


def small(serial: int) -> str:
    return video_id("kilobytes", param=16, serial=serial)


async def test_what_a_page_said_answers_again(desk: Desk) -> None:
    video = small(1)
    first = await desk.ask(page(video), action="info")
    again = await desk.ask(page(video, "somebody.else"), action="info")
    assert (first["cache"], again["cache"]) == ("miss", "hit")
    assert again["video"]["formats"] == first["video"]["formats"]
    assert desk.counts(video) == {"page": 1}


async def test_a_file_that_is_there_answers_again(desk: Desk) -> None:
    video = small(2)
    first, again = await desk.ask(page(video)), await desk.ask(page(video))
    assert not first["files"][0]["reused"]
    assert again["files"][0] == {**first["files"][0], "reused": True}
    assert desk.counts(video) == ONCE


async def test_metadata_serves_the_download_that_follows(desk: Desk) -> None:
    video = small(3)
    await desk.ask(page(video), action="info")
    assert (await desk.ask(page(video)))["cache"] == "hit"
    assert desk.counts(video) == ONCE


async def test_two_qualities_share_the_page(desk: Desk) -> None:
    video = video_id(serial=4)
    best = await desk.ask(page(video))
    worst = await desk.ask(page(video), options={"quality": "worst"})
    assert best["files"][0]["uri"] != worst["files"][0]["uri"]
    assert desk.counts(video) == {"page": 1, "media": 2}


@pytest.mark.parametrize("askers", [2, 20])
async def test_those_who_ask_together_share_one_extraction_and_one_download(
    askers: int, desk: Desk, house: House
) -> None:
    # A second that both take: the others come while the first is at work.
    video = video_id("media.takes", param=1, serial=askers)
    house.standin.switch("page.slow", param=500, video=video)
    results = await asyncio.gather(*(desk.ask(page(video)) for _ in range(askers)))
    assert {each["status"] for each in results} == {"completed"}
    assert len({each["files"][0]["sha256"] for each in results}) == 1
    assert sorted(each["files"][0]["reused"] for each in results) == [False, *[True] * (askers - 1)]
    assert sorted(each["cache"] for each in results) == [*["hit"] * (askers - 1), "miss"]
    assert desk.counts(video) == ONCE


async def test_refresh_asks_again(desk: Desk) -> None:
    video = small(6)
    await desk.ask(page(video))
    fresh = await desk.ask(page(video), options={"refresh": True})
    assert (fresh["cache"], fresh["files"][0]["reused"]) == ("miss", False)
    assert desk.counts(video) == {"page": 2, "media": 2}


async def test_a_file_deleted_by_hand_is_fetched_again(desk: Desk) -> None:
    video = small(7)
    file = (await desk.ask(page(video)))["files"][0]
    path_of(file["uri"]).unlink()
    assert (await desk.ask(page(video)))["files"] == [file]
    assert path_of(file["uri"]).stat().st_size == file["bytes"]
    assert desk.counts(video) == {"page": 1, "media": 2}


async def test_a_file_cut_by_hand_is_fetched_again(desk: Desk) -> None:
    video = small(8)
    file = (await desk.ask(page(video)))["files"][0]
    path_of(file["uri"]).write_bytes(b"not all of it")
    assert (await desk.ask(page(video)))["files"] == [file]
    assert path_of(file["uri"]).stat().st_size == file["bytes"]


def path_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


@pytest.mark.parametrize("action", ["info", "download"])
async def test_a_video_that_is_gone_is_asked_for_once(
    action: str, desk: Desk, house: House
) -> None:
    """Until somebody wants to know it anew: one that came back is had, and stays."""
    video = small(20 + len(action))
    house.standin.switch("deleted", video=video, times=1)
    first = await desk.ask(page(video), action=action)
    again = await desk.ask(page(video), action=action)
    assert (first["status"], again["status"]) == ("failed", "failed")
    assert again["error"]["error_type"] == "content.not_found"
    assert "remembered_since" in again["error"]["technical_details"]
    assert desk.counts(video) == {"page": 1}
    fresh = await desk.ask(page(video), action=action, options={"refresh": True})
    assert (fresh["status"], fresh["cache"]) == ("completed", "miss")
    assert (await desk.ask(page(video), action=action))["cache"] == "hit"
    assert desk.counts(video)["page"] == 2


async def test_a_video_that_was_ordered_to_be_forgotten_is_asked_for_again(
    desk: Desk, house: House
) -> None:
    video = small(26)
    house.standin.switch("private", video=video, times=1)
    assert (await desk.ask(page(video), action="info"))["status"] == "failed"
    status, _, complaint = await house.clipmill("refresh", f"tiktok:{video}")
    assert (status, complaint) == (0, "")
    assert (await desk.ask(page(video), action="info"))["status"] == "completed"


async def test_links_that_are_refused_take_their_page_along(desk: Desk, house: House) -> None:
    video = small(27)
    await desk.ask(page(video), action="info")
    house.standin.switch("media.expired", video=video)
    result = await desk.ask(page(video))
    assert (result["status"], result["cache"]) == ("completed", "miss")
    assert [each["strategy"] for each in result["recovery"]] == ["fresh_extraction"]
    assert desk.counts(video)["page"] == 2


PAGE_ONLY = small(30)
WHOLE = tuple(small(number) for number in range(31, 40))
"""Videos that were had before the worker was killed."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def restarted(desk: Desk, house: House) -> AsyncIterator[Process]:
    """A worker that follows one that was killed with SIGKILL after it had these videos."""
    await desk.ask(page(PAGE_ONLY), action="info")
    await asyncio.gather(*(desk.ask(page(video)) for video in WHOLE))
    house.workers[0].kill()
    yield await house.start_worker("all")


@pytest.mark.usefixtures("restarted")
async def test_pages_are_known_after_a_kill(desk: Desk) -> None:
    assert (await desk.ask(page(PAGE_ONLY), action="info"))["cache"] == "hit"
    assert (await desk.ask(page(PAGE_ONLY)))["cache"] == "hit"
    assert desk.counts(PAGE_ONLY) == ONCE


@pytest.mark.usefixtures("restarted")
async def test_files_are_known_after_a_kill(desk: Desk) -> None:
    results = await asyncio.gather(*(desk.ask(page(video)) for video in WHOLE))
    assert all(each["files"][0]["reused"] for each in results)
    assert [desk.counts(video) for video in WHOLE] == [ONCE] * len(WHOLE)


@pytest.mark.usefixtures("restarted")
async def test_look_ups_are_counted(desk: Desk) -> None:
    found = await desk.metrics()
    assert found["clipmill_cache_requests_total"] >= 4
    assert {"clipmill_cache_entries", "clipmill_cache_bytes"} <= found.keys()
