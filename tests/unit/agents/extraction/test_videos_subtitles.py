"""Posts whose subtitles are requested: a page that was read without them is read again."""

import pytest

from agents.engine.interface import EngineFailure
from schemas.errors import ErrorCode
from schemas.events import ValidatedVideo
from schemas.request import Options
from schemas.results import Completed
from tests.unit.agents.builders import failure, outcome, validated, writes
from tests.unit.agents.extraction.test_videos import ExtractionHarness, extracted_event


def asking() -> ValidatedVideo:
    return validated(options=Options(subtitles=("en",)))


async def test_page_is_read_with_subtitles_only_on_request() -> None:
    harness = ExtractionHarness()
    assert not extracted_event(await harness.run(validated())).extraction.subtitles
    assert extracted_event(await harness.run(asking())).extraction.subtitles
    assert [job.subtitles for job in harness.engine.jobs] == [False, True]


async def test_page_that_was_read_with_subtitles_serves_every_request() -> None:
    harness = ExtractionHarness()
    await harness.run(asking())
    for event in (asking(), validated()):
        effects = await harness.run(event)
        assert extracted_event(effects).cache == "hit"
        assert not writes(effects)
    assert len(harness.engine.jobs) == 1


async def test_local_cache_serves_subtitles_only_if_they_are_known() -> None:
    harness = ExtractionHarness()
    await harness.run(validated())
    assert harness.work.work_sync(validated()) is not None
    assert harness.work.work_sync(asking()) is None
    await harness.run(asking())
    assert harness.work.work_sync(asking()) is not None


@pytest.mark.parametrize("status", [429, 500])
async def test_cached_page_is_used_when_it_cannot_be_read_again(status: int) -> None:
    harness = ExtractionHarness()
    await harness.run(validated())
    harness.engine.found = EngineFailure(types=("HTTPError",), message="x", status=status)
    event = extracted_event(await harness.run(asking()))
    assert (event.cache, event.extraction.subtitles) == ("hit", False)
    assert event.job.page.reads == 0


async def test_page_that_is_not_cached_and_cannot_be_read_is_a_failure() -> None:
    harness = ExtractionHarness(EngineFailure(types=("HTTPError",), message="x", status=429))
    assert failure(await harness.run(asking())).error.error_type is ErrorCode.RATE_LIMIT_API


async def test_info_with_subtitles_reads_the_page_again() -> None:
    harness = ExtractionHarness()
    await harness.run(validated(action="info"))
    options = Options(subtitles=("all",))
    found = outcome(await harness.run(validated(action="info", options=options)))
    assert isinstance(found, Completed)
    assert found.cache == "miss"
