"""The engine's extractor gives what yt-dlp's gives, for every page that the stand-in has.

Both read the same stand-in: ours as the product does, yt-dlp's with a `YoutubeDL` as it comes. The
stand-in's clock stands still and its count of pages starts again for each of them, so that the
signed links of both pages are the same ones; then nothing is left that would have to be evened out.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from yt_dlp import YoutubeDL
from yt_dlp.extractor.tiktok import TikTokIE as StockTikTokIE

from agents.engine.failures import flatten
from agents.engine.interface import EngineError, EngineFailure, EngineJob
from agents.engine.results import to_json
from agents.platforms.tiktok.page import EXTRACTOR
from tests.integration.failure_samples import Stage, staged
from tests.standin import SCENARIOS, user_name, video_id
from tests.standin.ids import case_of_id
from tests.standin.posts import post_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = 1_790_000_000.0
ORDINARY_PAGES = 60

ENDLESS = frozenset({"page.hang", "page.drip"})
"""yt-dlp has no total time: it waits for minutes where the engine's deadline ends the wait."""

OVER_THE_CAP = frozenset({"page.huge"})
"""yt-dlp has no cap: it reads every page, at a cost that grows with the square of its size."""

JUDGED = frozenset({"moved", "stranger", "notfound", "challenge.again", "shop", "ad"})
"""yt-dlp takes the page of any post for the one asked for, and gives no reason for the others."""

POSTS = tuple(
    row.name for row in SCENARIOS if row.surface in {"post", "media"} and row.name not in JUDGED
)
PAGES = tuple(
    row.name
    for row in SCENARIOS
    if row.surface == "page" and row.name not in ENDLESS | OVER_THE_CAP | JUDGED
)
PARAMETERS = {"photo": (0, 1, 35), "status": (0, 10004, 10216, 10222), "challenge": (0, 1, 9_999)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.standin.page_answers.time", SimpleNamespace(time=lambda: NOW))
        async with staged(tmp_path_factory.mktemp("standin")) as stage:
            # How the roots of yt-dlp's HTTP libraries are chosen.
            for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
                patch.setenv(variable, str(stage.egress.ca_bundle))
            yield stage


@pytest.fixture(scope="module")
def ydl(stage: Stage) -> Any:
    options = {"proxy": stage.standin.proxy_url, "compat_opts": {"no-certifi"}, "quiet": True}
    with YoutubeDL({**options, "no_warnings": True}) as ydl:
        yield ydl


async def ours(stage: Stage, url: str) -> Any:
    """Return what the engine says: the info, or the failure's classes and text."""
    stage.standin.counters.reset()
    try:
        result = await stage.pool.extract(EngineJob(url=url, extractor=EXTRACTOR))
    except EngineError as error:
        return told(error.failure)
    return json.loads(bytes(result.raw))


async def stock(stage: Stage, ydl: Any, url: str) -> Any:
    """Return what yt-dlp says, in the same form."""
    stage.standin.counters.reset()
    ydl.cookiejar.clear()
    return await asyncio.to_thread(_stock, ydl, url)


def _stock(ydl: Any, url: str) -> Any:
    try:
        return json.loads(to_json(StockTikTokIE(ydl).extract(url)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the engine's must be the same
        return told(flatten(error))


def told(failure: EngineFailure) -> tuple[tuple[str, ...], str]:
    """Return classes and text of a failure.

    Behind curl_cffi's exception there is libcurl's, unless the response was a stream: the engine
    reads it whole, yt-dlp as a stream.
    """
    types = tuple(name for name in failure.types if name != "CurlError")
    return types, failure.message


def page_of(scenario: str, param: int = 0, serial: int = 1, user: str = "_") -> str:
    return f"https://www.tiktok.com/@{user}/video/{video_id(scenario, param=param, serial=serial)}"


def without_additions(info: Any) -> Any:
    """Return what the engine said without what yt-dlp leaves out: pictures, length of the song."""
    if not isinstance(info, dict):
        return info
    for each in info.get("formats") or ():
        if each.get("vcodec") == "none":
            each.pop("duration", None)
    return {name: value for name, value in info.items() if name != "images"}


async def assert_equal(stage: Stage, ydl: Any, url: str) -> Any:
    """Compare field by field; return what the engine said."""
    found, expected = await ours(stage, url), await stock(stage, ydl, url)
    assert without_additions(found) == expected
    # In the same order, as dictionaries compare without it.
    assert list(without_additions(found)) == list(expected)
    return found


@pytest.mark.parametrize("scenario", POSTS)
async def test_every_post_is_the_same(stage: Stage, ydl: Any, scenario: str) -> None:
    for param in PARAMETERS.get(scenario, (0,)):
        found = await assert_equal(stage, ydl, page_of(scenario, param))
        video = video_id(scenario, param=param)
        assert found["id"] == video
        assert len(found.get("images", ())) == post_for(video, case=case_of_id(video)).images


@pytest.mark.parametrize("scenario", PAGES)
async def test_every_other_page_is_the_same(stage: Stage, ydl: Any, scenario: str) -> None:
    for param in PARAMETERS.get(scenario, (0,)):
        await assert_equal(stage, ydl, page_of(scenario, param))


async def test_ordinary_pages_are_the_same(stage: Stage, ydl: Any) -> None:
    for serial in range(1, ORDINARY_PAGES + 1):
        found = await assert_equal(stage, ydl, page_of("ok", serial=serial))
        assert len(found["formats"]) >= 6


@pytest.mark.parametrize(
    "user", ["clip.maker", user_name("hostile"), user_name("photo", param=2), user_name("deleted")]
)
async def test_pages_with_their_authors_name_are_the_same(
    stage: Stage, ydl: Any, user: str
) -> None:
    await assert_equal(stage, ydl, page_of("ok", user=user))


async def test_only_these_pages_are_left_out() -> None:
    pages = {row.name for row in SCENARIOS if row.surface in {"post", "media", "page"}}
    assert pages - {*POSTS, *PAGES} == {"page.hang", "page.drip", "page.huge", *JUDGED}
