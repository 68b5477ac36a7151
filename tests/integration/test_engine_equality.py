"""The engine's extractor returns the same as yt-dlp's for every page of the stand-in.

Both read the same stand-in: ours as the product does, yt-dlp's with an unmodified `YoutubeDL`. The
stand-in's clock is frozen and its page count is reset for each of them, so that both pages have
the same signed links; nothing else needs to be normalised.
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
from agents.engine.subtitles import with_bounded_subtitles
from agents.platforms.tiktok.handler import EXTRACTOR
from tests.integration.failure_samples import EngineHarness, engine_harness
from tests.standin import SCENARIOS, user_name, video_id
from tests.standin.ids import case_of_id
from tests.standin.posts import post_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = 1_790_000_000.0
ORDINARY_PAGES = 60

HANGING_PAGES = frozenset({"page.hang", "page.drip"})
"""yt-dlp has no total timeout: it waits for minutes where the engine's deadline ends the wait."""

OVERSIZED_PAGES = frozenset({"page.huge"})
"""yt-dlp has no size limit: it reads every page, at a cost quadratic in its size."""

DIFFERENT_PAGES = frozenset({"moved", "stranger", "notfound", "challenge.again", "shop", "ad"})
"""yt-dlp accepts the page of any post as the requested one, and reports no reason."""

POSTS = tuple(
    row.name
    for row in SCENARIOS
    if row.surface in {"post", "media"} and row.name not in DIFFERENT_PAGES
)
PAGES = tuple(
    row.name
    for row in SCENARIOS
    if row.surface == "page" and row.name not in HANGING_PAGES | OVERSIZED_PAGES | DIFFERENT_PAGES
)
PARAMETERS = {"photo": (0, 1, 35), "status": (0, 10004, 10216, 10222), "challenge": (0, 1, 9_999)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineHarness]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.standin.page_answers.time", SimpleNamespace(time=lambda: NOW))
        async with engine_harness(tmp_path_factory.mktemp("standin")) as harness:
            # These variables select the roots of yt-dlp's HTTP libraries.
            for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
                patch.setenv(variable, str(harness.egress.ca_bundle))
            yield harness


@pytest.fixture(scope="module")
def ydl(harness: EngineHarness) -> Any:
    options = {"proxy": harness.standin.proxy_url, "compat_opts": {"no-certifi"}, "quiet": True}
    with YoutubeDL({**options, "no_warnings": True}) as ydl:
        yield ydl


async def engine_result(harness: EngineHarness, url: str) -> Any:
    """Return the engine's result: the info, or classes and message of the failure."""
    harness.standin.counters.reset()
    try:
        result = await harness.pool.extract(EngineJob(url=url, extractor=EXTRACTOR))
    except EngineError as error:
        return described(error.failure)
    return json.loads(bytes(result.raw))


async def yt_dlp_result(harness: EngineHarness, ydl: Any, url: str) -> Any:
    """Return yt-dlp's result in the same form."""
    harness.standin.counters.reset()
    ydl.cookiejar.clear()
    return await asyncio.to_thread(_yt_dlp_result, ydl, url)


def _yt_dlp_result(ydl: Any, url: str) -> Any:
    try:
        found = with_bounded_subtitles(StockTikTokIE(ydl).extract(url), wanted=False)
        return json.loads(to_json(found))
    except Exception as error:  # noqa: BLE001 - the engine's failure must be equal
        return described(flatten(error))


def described(failure: EngineFailure) -> tuple[tuple[str, ...], str]:
    """Return classes and message of a failure.

    curl_cffi's exception is caused by libcurl's, unless the response was a stream: the engine
    reads it whole, yt-dlp as a stream.
    """
    types = tuple(name for name in failure.types if name != "CurlError")
    return types, failure.message


def page_of(scenario: str, param: int = 0, serial: int = 1, user: str = "_") -> str:
    return f"https://www.tiktok.com/@{user}/video/{video_id(scenario, param=param, serial=serial)}"


def without_additions(info: Any) -> Any:
    """Return the engine's info without its additions: pictures, duration of the song."""
    if not isinstance(info, dict):
        return info
    for each in info.get("formats") or ():
        if each.get("vcodec") == "none":
            each.pop("duration", None)
    return {name: value for name, value in info.items() if name != "images"}


async def assert_equal(harness: EngineHarness, ydl: Any, url: str) -> Any:
    """Assert equal results field by field; return the engine's."""
    found, expected = await engine_result(harness, url), await yt_dlp_result(harness, ydl, url)
    assert without_additions(found) == expected
    # Compare the order of fields too, which dictionaries ignore.
    assert list(without_additions(found)) == list(expected)
    return found


@pytest.mark.parametrize("scenario", POSTS)
async def test_post_is_extracted_equally(harness: EngineHarness, ydl: Any, scenario: str) -> None:
    for param in PARAMETERS.get(scenario, (0,)):
        found = await assert_equal(harness, ydl, page_of(scenario, param))
        video = video_id(scenario, param=param)
        assert found["id"] == video
        assert len(found.get("images", ())) == post_for(video, case=case_of_id(video)).images


@pytest.mark.parametrize("scenario", PAGES)
async def test_other_page_is_extracted_equally(
    harness: EngineHarness, ydl: Any, scenario: str
) -> None:
    for param in PARAMETERS.get(scenario, (0,)):
        await assert_equal(harness, ydl, page_of(scenario, param))


async def test_ordinary_pages_are_extracted_equally(harness: EngineHarness, ydl: Any) -> None:
    for serial in range(1, ORDINARY_PAGES + 1):
        found = await assert_equal(harness, ydl, page_of("ok", serial=serial))
        assert len(found["formats"]) >= 6


@pytest.mark.parametrize(
    "user", ["clip.maker", user_name("hostile"), user_name("photo", param=2), user_name("deleted")]
)
async def test_pages_with_a_user_name_are_extracted_equally(
    harness: EngineHarness, ydl: Any, user: str
) -> None:
    await assert_equal(harness, ydl, page_of("ok", user=user))


async def test_only_known_different_pages_are_excluded() -> None:
    pages = {row.name for row in SCENARIOS if row.surface in {"post", "media", "page"}}
    assert pages - {*POSTS, *PAGES} == {"page.hang", "page.drip", "page.huge", *DIFFERENT_PAGES}
