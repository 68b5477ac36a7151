from typing import Any

import msgspec
import pytest

from agents.caching.upload_date import UploadDates
from agents.pipeline.step import step_handler
from agents.platforms.registry import Platforms
from agents.selection import Selection
from agents.selection import stage as selection_stage
from schemas.errors import ErrorCode
from schemas.events import ExtractedVideo, SelectedVideo
from schemas.request import Options
from streams.cluster.shared_state import SharedState
from streams.records import Effect
from streams.topics import SELECTED
from tests.unit.agents.builders import (
    VIDEO,
    body_of,
    event_record,
    extracted,
    failure,
    header,
    make_context,
    make_extraction,
    make_settings,
    only,
    opened_stage,
    transitions,
)
from tests.unit.agents.platforms.tiktok.extractions import (
    EXTRACTED_AT,
    TOKEN,
    VERSIONS,
    extraction_of,
    raw_of,
)

PLATFORMS = Platforms.load()


async def run(event: ExtractedVideo) -> list[Effect]:
    handle = step_handler("selection", ExtractedVideo, Selection(PLATFORMS).work, SharedState())
    return list(await handle(event_record(event)))


def selected_of(effects: list[Effect]) -> SelectedVideo:
    return body_of(only(effects, SELECTED), SelectedVideo)


async def test_a_format_is_chosen_with_all_that_is_needed_to_fetch_it() -> None:
    effects = await run(extracted())
    event = selected_of(effects)
    offered = PLATFORMS.by_name("tiktok").get_media_sources(make_extraction())
    source = event.sources[0]
    assert (source.format, source.url) in [(each.format, each.url) for each in offered]
    assert not source.sound_only
    assert event.sources[0].cookies == (TOKEN,)
    assert event.sources[0].format in event.info.formats
    assert (event.video, event.cache, event.engine) == (VIDEO, "miss", VERSIONS)
    assert not event.sources[0].format.watermarked
    assert transitions(effects) == ["selected"]
    assert only(effects, SELECTED).key == VIDEO.key.encode()


@pytest.mark.parametrize("quality", ["best", "1080p", "720p", "480p", "360p", "worst"])
async def test_the_quality_asked_for_is_kept(quality: Any) -> None:
    event = selected_of(await run(extracted(options=Options(quality=quality))))
    limit = int(quality.removesuffix("p")) if quality.endswith("p") else 10_000
    sides = {each.smaller_side for each in event.info.formats if each.smaller_side}
    assert event.sources[0].format.smaller_side <= max(limit, min(sides))


async def test_what_fits_no_format_is_a_failure() -> None:
    found = failure(await run(extracted(options=Options(container="webm", degrade=False))))
    assert found.error.error_type is ErrorCode.CONTENT_NO_FORMATS
    assert found.error.technical_details["offered"]


async def test_what_is_too_large_is_a_failure() -> None:
    raw = raw_of()
    for each in raw["formats"]:
        each["filesize"] = 1_000
    event = extracted(extraction_of(raw), options=Options(max_bytes=999))
    assert failure(await run(event)).error.error_type is ErrorCode.REQUEST_TOO_LARGE


@pytest.mark.parametrize("raw", [[], "x", 7, None], ids=repr)
async def test_what_is_no_video_is_a_failure(raw: object) -> None:
    found = failure(await run(extracted(extraction_of(raw))))
    assert found.error.error_type is ErrorCode.PLATFORM_CHANGED


async def test_a_video_without_files_is_a_failure() -> None:
    found = failure(await run(extracted(extraction_of({"formats": []}))))
    assert found.error.error_type is ErrorCode.CONTENT_NO_FORMATS


async def test_other_cookies_of_the_same_page_are_used() -> None:
    selection = Selection(PLATFORMS)
    handle = step_handler("selection", ExtractedVideo, selection.work, SharedState())
    await handle(event_record(extracted()))
    fresh = msgspec.structs.replace(TOKEN, value="fresh")
    extraction = msgspec.structs.replace(make_extraction(), cookies=(fresh,))
    effects = list(await handle(event_record(extracted(extraction))))
    assert selected_of(effects).sources[0].cookies == (fresh,)


async def test_the_stage_opens_with_the_installed_platforms() -> None:
    context, _ = make_context(make_settings())
    async with opened_stage(selection_stage, context) as handle:
        effects = await handle(event_record(extracted()))
    assert header(only(effects, SELECTED), "ce_source") == "/clipmill/selection"


async def test_formats_to_avoid_are_not_chosen() -> None:
    first = selected_of(await run(extracted())).sources[0].format.format_id
    event = selected_of(await run(extracted(avoid_formats=(first,))))
    assert event.sources[0].format.format_id != first


async def test_when_all_formats_are_to_be_avoided_none_is_left() -> None:
    offered = PLATFORMS.by_name("tiktok").get_media_sources(make_extraction())
    avoided = tuple(source.format.format_id for source in offered)
    found = failure(await run(extracted(avoid_formats=avoided)))
    assert found.error.error_type is ErrorCode.CONTENT_NO_FORMATS
    assert "has failed" in found.error.technical_details["reason"]


async def test_what_was_chosen_before_is_chosen_again() -> None:
    selection = Selection(PLATFORMS)
    handle = step_handler("selection", ExtractedVideo, selection.work, SharedState())
    fresh = Options(refresh=True)
    first, again = [
        selected_of(list(await handle(event_record(extracted(options=options)))))
        for options in (Options(), fresh)
    ]
    assert again.sources == first.sources
    assert len(selection._choices._store) == 1


async def test_a_format_that_failed_is_not_chosen_from_memory() -> None:
    handle = step_handler("selection", ExtractedVideo, Selection(PLATFORMS).work, SharedState())
    first = selected_of(list(await handle(event_record(extracted())))).sources[0].format.format_id
    effects = list(await handle(event_record(extracted(avoid_formats=(first,)))))
    assert selected_of(effects).sources[0].format.format_id != first


async def test_fresh_links_are_taken_from_the_fresh_page() -> None:
    handle = step_handler("selection", ExtractedVideo, Selection(PLATFORMS).work, SharedState())
    await handle(event_record(extracted()))
    raw = raw_of()
    for each in raw["formats"]:
        each["url"] += "&fresh=1"
    effects = list(await handle(event_record(extracted(extraction_of(raw)))))
    assert selected_of(effects).sources[0].url.endswith("&fresh=1")


async def test_a_date_that_a_page_lacks_is_filled_in() -> None:
    dates = UploadDates()
    selection = Selection(PLATFORMS, dates=dates)
    handle = step_handler("selection", ExtractedVideo, selection.work, SharedState())
    raw = raw_of()
    del raw["timestamp"]
    dates.put(VIDEO.key, EXTRACTED_AT)
    effects = list(await handle(event_record(extracted(extraction_of(raw)))))
    assert selected_of(effects).info.published_at == EXTRACTED_AT
