from datetime import UTC, datetime

import pytest

from agents.engine.interface import EngineFailure, EngineJob
from agents.platforms.extraction import ReadOptions, read_page
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie, VideoRef
from tests.unit.agents.platforms.doubles import VERSIONS, FakeAccount, FakeEngine

VIDEO = VideoRef(platform="mine", id="a1", url="https://mine.example/a1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS = ReadOptions(egress="a", deadline_seconds=7, clock=lambda: NOW)
PAGE = Cookie(name="page", value="1", domain=".mine.example")
SESSION = Cookie(name="session", value="secret", domain=".mine.example")
NEW_SESSION = Cookie(name="session", value="fresh", domain=".mine.example")


def to_error(failure: EngineFailure) -> ClipmillError:
    return ClipmillError(ErrorCode.PLATFORM_CHANGED, failure.message)


async def test_job_is_run_and_its_result_returned() -> None:
    engine = FakeEngine({"id": "1"}, cookies=(PAGE,))
    found = await read_page(VIDEO, engine, "yt-dlp:Mine", OPTIONS, to_error)
    assert engine.jobs == [
        EngineJob(url=VIDEO.url, extractor="yt-dlp:Mine", deadline_seconds=7, egress="a")
    ]
    assert bytes(found.raw) == b'{"id":"1"}'
    assert (found.engine, found.extracted_at, found.cookies) == (VERSIONS, NOW, (PAGE,))


async def test_failure_is_mapped_to_an_error() -> None:
    engine = FakeEngine(failure=EngineFailure(types=("X",), message="no luck"))
    with pytest.raises(ClipmillError, match="no luck") as caught:
        await read_page(VIDEO, engine, "x", OPTIONS, to_error)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "set_by_page", [(), (PAGE,), (PAGE, SESSION), (PAGE, NEW_SESSION)], ids=len
)
async def test_cookies_set_for_an_account_are_not_returned(set_by_page: tuple[Cookie, ...]) -> None:
    engine = FakeEngine({}, cookies=set_by_page)
    options = ReadOptions(egress="a", deadline_seconds=7, account=FakeAccount(SESSION))
    found = await read_page(VIDEO, engine, "x", options, to_error)
    assert engine.jobs[0].cookies == (SESSION,)
    assert found.cookies == ()


async def test_extraction_time_defaults_to_now() -> None:
    options = ReadOptions(egress="a", deadline_seconds=7)
    assert (await read_page(VIDEO, FakeEngine({}), "x", options, to_error)).extracted_at > NOW
