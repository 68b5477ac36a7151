from typing import Any

import msgspec
import pytest

from agents.caching.metadata import UploadDates
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
    only_record,
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


async def effects_of(event: ExtractedVideo) -> list[Effect]:
    handle = step_handler("selection", ExtractedVideo, Selection(PLATFORMS).work, SharedState())
    return list(await handle(event_record(event)))


def selected_event(effects: list[Effect]) -> SelectedVideo:
    return body_of(only_record(effects, SELECTED), SelectedVideo)


async def test_selected_event_has_everything_needed_to_fetch_the_format() -> None:
    effects = await effects_of(extracted())
    event = selected_event(effects)
    offered = PLATFORMS.by_name("tiktok").get_media_sources(make_extraction())
    source = event.sources[0]
    assert (source.format, source.url) in [(each.format, each.url) for each in offered]
    assert not source.sound_only
    assert event.sources[0].cookies == (TOKEN,)
    assert event.sources[0].format in event.info.formats
    assert (event.video, event.cache, event.engine) == (VIDEO, "miss", VERSIONS)
    assert not event.sources[0].format.watermarked
    assert transitions(effects) == ["selected"]
    assert only_record(effects, SELECTED).key == VIDEO.key.encode()


@pytest.mark.parametrize("quality", ["best", "1080p", "720p", "480p", "360p", "worst"])
async def test_requested_quality_is_not_exceeded(quality: Any) -> None:
    event = selected_event(await effects_of(extracted(options=Options(quality=quality))))
    limit = int(quality.removesuffix("p")) if quality.endswith("p") else 10_000
    sides = {each.smaller_side for each in event.info.formats if each.smaller_side}
    assert event.sources[0].format.smaller_side <= max(limit, min(sides))


async def test_options_without_a_matching_format_are_a_failure() -> None:
    found = failure(await effects_of(extracted(options=Options(container="webm", degrade=False))))
    assert found.error.error_type is ErrorCode.CONTENT_NO_FORMATS
    assert found.error.technical_details["offered"]


async def test_too_large_formats_are_a_failure() -> None:
    raw = raw_of()
    for each in raw["formats"]:
        each["filesize"] = 1_000
    event = extracted(extraction_of(raw), options=Options(max_bytes=999))
    assert failure(await effects_of(event)).error.error_type is ErrorCode.REQUEST_TOO_LARGE


@pytest.mark.parametrize("raw", [[], "x", 7, None], ids=repr)
async def test_page_without_a_video_is_a_failure(raw: object) -> None:
    found = failure(await effects_of(extracted(extraction_of(raw))))
    assert found.error.error_type is ErrorCode.PLATFORM_CHANGED


async def test_video_without_formats_is_a_failure() -> None:
    found = failure(await effects_of(extracted(extraction_of({"formats": []}))))
    assert found.error.error_type is ErrorCode.CONTENT_NO_FORMATS


async def test_cookies_come_from_the_event_and_not_from_the_cache() -> None:
    selection = Selection(PLATFORMS)
    handle = step_handler("selection", ExtractedVideo, selection.work, SharedState())
    await handle(event_record(extracted()))
    fresh = msgspec.structs.replace(TOKEN, value="fresh")
    extraction = msgspec.structs.replace(make_extraction(), cookies=(fresh,))
    effects = list(await handle(event_record(extracted(extraction))))
    assert selected_event(effects).sources[0].cookies == (fresh,)


async def test_stage_opens_with_the_installed_platforms() -> None:
    context, _ = make_context(make_settings())
    async with opened_stage(selection_stage, context) as handle:
        effects = await handle(event_record(extracted()))
    assert header(only_record(effects, SELECTED), "ce_source") == "/clipmill/selection"


async def test_avoided_format_is_not_chosen() -> None:
    first = selected_event(await effects_of(extracted())).sources[0].format.format_id
    event = selected_event(await effects_of(extracted(avoid_formats=(first,))))
    assert event.sources[0].format.format_id != first


async def test_avoiding_all_formats_is_a_failure() -> None:
    offered = PLATFORMS.by_name("tiktok").get_media_sources(make_extraction())
    avoided = tuple(source.format.format_id for source in offered)
    found = failure(await effects_of(extracted(avoid_formats=avoided)))
    assert found.error.error_type is ErrorCode.CONTENT_NO_FORMATS
    assert "has failed" in found.error.technical_details["reason"]


async def test_cached_choice_is_reused() -> None:
    selection = Selection(PLATFORMS)
    handle = step_handler("selection", ExtractedVideo, selection.work, SharedState())
    fresh = Options(refresh=True)
    first, again = [
        selected_event(list(await handle(event_record(extracted(options=options)))))
        for options in (Options(), fresh)
    ]
    assert again.sources == first.sources
    assert len(selection._choices._store) == 1


async def test_failed_format_is_not_chosen_from_the_cache() -> None:
    handle = step_handler("selection", ExtractedVideo, Selection(PLATFORMS).work, SharedState())
    first = (
        selected_event(list(await handle(event_record(extracted())))).sources[0].format.format_id
    )
    effects = list(await handle(event_record(extracted(avoid_formats=(first,)))))
    assert selected_event(effects).sources[0].format.format_id != first


async def test_links_come_from_the_fresh_page() -> None:
    handle = step_handler("selection", ExtractedVideo, Selection(PLATFORMS).work, SharedState())
    await handle(event_record(extracted()))
    raw = raw_of()
    for each in raw["formats"]:
        each["url"] += "&fresh=1"
    effects = list(await handle(event_record(extracted(extraction_of(raw)))))
    assert selected_event(effects).sources[0].url.endswith("&fresh=1")


async def test_missing_publication_date_is_filled_in() -> None:
    dates = UploadDates()
    selection = Selection(PLATFORMS, dates=dates)
    handle = step_handler("selection", ExtractedVideo, selection.work, SharedState())
    raw = raw_of()
    del raw["timestamp"]
    dates.put(VIDEO.key, EXTRACTED_AT)
    effects = list(await handle(event_record(extracted(extraction_of(raw)))))
    assert selected_event(effects).info.published_at == EXTRACTED_AT
