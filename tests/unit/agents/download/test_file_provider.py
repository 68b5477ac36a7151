import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agents.download.file_provider import adopted_id, is_as_selected
from agents.media.protocol import MediaFacts, Unreadable
from agents.storage.local import LocalStorage
from agents.storage.withheld_posts import find_withheld, withhold
from schemas.codec import encode
from schemas.errors import ErrorCode
from schemas.files import StoredFile
from schemas.request import Options
from schemas.results import Completed
from schemas.signals import RefreshSignal
from schemas.video import SelectedSource
from tests.unit.agents.builders import (
    FORMAT,
    SOURCE,
    VIDEO,
    failure,
    make_settings,
    outcome,
    seconds_from_now,
    selected,
)
from tests.unit.agents.download.downloads import FakeProbe
from tests.unit.agents.download.test_agent import DownloadHarness, raising

REFRESH = Options(refresh=True)
FACTS = MediaFacts(
    duration_seconds=12.5, video_codec="h264", audio_codec="aac", width=720, height=1280
)
FILE = StoredFile(
    uri="file:///7.adopted.mp4",
    bytes=5,
    sha256="",
    mime_type="video/mp4",
    format_id="adopted",
    width=720,
    height=1280,
    codec="h264",
    audio_codec="aac",
    probed=True,
)


@pytest.mark.parametrize(
    ("changes", "options", "expected"),
    [
        ({}, {}, True),
        ({}, {"codec": "h264", "container": "mp4", "quality": "720p"}, True),
        ({}, {"codec": "h265"}, False),
        ({}, {"container": "webm"}, False),
        ({"width": 1080, "height": 1920}, {}, True),
        ({"width": 1080, "height": 1920}, {"quality": "720p"}, False),
        ({"width": 1080, "height": 1920}, {"quality": "worst"}, False),
        ({"width": 576, "height": 1024}, {}, False),
        ({"width": 716, "height": 1274}, {}, True),
        ({"width": 728}, {"quality": "720p"}, True),
        ({"width": None, "height": None}, {}, False),
        ({"probed": False}, {}, False),
    ],
)
def test_file_is_as_selected(
    changes: dict[str, Any], options: dict[str, Any], expected: bool
) -> None:
    assert is_as_selected(replace(FILE, **changes), SOURCE, Options(**options)) is expected


def test_size_that_the_page_does_not_say_does_not_matter() -> None:
    source = replace(SOURCE, format=replace(FORMAT, width=None, height=None))
    assert is_as_selected(FILE, source, Options())


@pytest.mark.parametrize(("codec", "expected"), [("aac", True), (None, False)])
def test_sound_needs_sound(codec: str | None, expected: bool) -> None:
    sound = replace(SOURCE, sound_only=True)
    assert is_as_selected(replace(FILE, audio_codec=codec), sound, Options()) is expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (SOURCE, "adopted"),
        (replace(SOURCE, sound_only=True), "adopted~sound"),
        (replace(SOURCE, tagged=True), None),
        (replace(SOURCE, format=replace(FORMAT, picture=1)), None),
        (replace(SOURCE, format=replace(FORMAT, song=True)), None),
    ],
)
def test_adopted_file_takes_the_place_of_a_video(
    source: SelectedSource, expected: str | None
) -> None:
    assert adopted_id(source, selected(source)) == expected
    assert adopted_id(source, selected(source, options=REFRESH)) is None


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[DownloadHarness]:
    async with LocalStorage.open(tmp_path) as storage:
        harness = DownloadHarness(storage, make_settings(data_dir=tmp_path))
        harness.probe = FakeProbe(FACTS)
        yield harness


async def publish_adopted(storage: LocalStorage, age_seconds: float = 0.0) -> str:
    body = b"from elsewhere"
    async with storage.workspace() as directory:
        path = directory / "part"
        path.write_bytes(body)
        moment = path.stat().st_mtime - age_seconds
        os.utime(path, (moment, moment))
        return await storage.publish(
            path,
            platform=VIDEO.platform,
            video_id=VIDEO.id,
            format_id="adopted",
            extension="mp4",
            sha256=hashlib.sha256(body).hexdigest(),
        )


async def run(harness: DownloadHarness, **changes: Any) -> StoredFile:
    result = outcome(await harness.run(selected(**changes)))
    assert isinstance(result, Completed)
    return result.files[0]


async def test_adopted_file_of_any_age_is_not_downloaded(harness: DownloadHarness) -> None:
    uri = await publish_adopted(harness.storage, 400 * 86_400.0)
    for _ in range(2):
        file = await run(harness)
        assert (file.uri, file.reused, file.format_id) == (uri, True, "adopted")
    assert harness.fetcher.limits == []


@pytest.mark.parametrize("options", [{"codec": "h265"}, {"refresh": True}, {"max_bytes": 5_000}])
async def test_request_for_another_file_downloads_it(
    options: dict[str, Any], harness: DownloadHarness
) -> None:
    uri = await publish_adopted(harness.storage)
    await run(harness)
    file = await run(harness, options=Options(**options))
    assert (file.uri == uri) is ("max_bytes" in options)


async def test_adopted_file_older_than_a_refresh_is_not_used(harness: DownloadHarness) -> None:
    uri = await publish_adopted(harness.storage, 60)
    signal = RefreshSignal(by="ann", at=seconds_from_now(-30))
    harness.context.shared_state.put(f"refresh/{VIDEO.key}", encode(signal))
    assert (await run(harness)).uri != uri


@pytest.mark.parametrize(
    "answer", [Unreadable(reason="junk"), replace(FACTS, duration_seconds=60.0)]
)
async def test_adopted_file_of_another_video_is_not_used(
    answer: MediaFacts | Unreadable, harness: DownloadHarness
) -> None:
    uri = await publish_adopted(harness.storage)
    harness.probe = FakeProbe(answer, FACTS)
    assert (await run(harness)).uri != uri


@pytest.mark.parametrize(
    ("cause", "reason"),
    [("removed", "removed on 20"), ("archived", "listed in a download archive that was adopted")],
)
async def test_withheld_post_is_not_downloaded(
    cause: str, reason: str, harness: DownloadHarness
) -> None:
    await withhold(harness.storage.records, VIDEO.platform, VIDEO.id, cause)  # type: ignore[arg-type]
    error = failure(await harness.run(selected())).error
    assert error.error_type is ErrorCode.CONTENT_WITHHELD
    assert reason in error.technical_details["reason"]
    assert error.recovery_options == ("clipmill retry r1 --refresh",)
    assert harness.fetcher.limits == []


async def test_refresh_downloads_a_withheld_post_which_is_not_withheld_any_more(
    harness: DownloadHarness,
) -> None:
    await withhold(harness.storage.records, VIDEO.platform, VIDEO.id, "removed")
    assert isinstance(outcome(await harness.run(selected(options=REFRESH))), Completed)
    assert await find_withheld(harness.storage.records, VIDEO.platform, VIDEO.id) is None
    result = outcome(await harness.run(selected()))
    assert isinstance(result, Completed)
    assert result.files[0].reused


async def test_failed_refresh_leaves_the_post_withheld(harness: DownloadHarness) -> None:
    await withhold(harness.storage.records, VIDEO.platform, VIDEO.id, "removed")
    harness.fetcher.then = raising(ErrorCode.NETWORK_CONNECTION)
    error = failure(await harness.run(selected(options=REFRESH))).error
    assert error.error_type is ErrorCode.NETWORK_CONNECTION
    assert await find_withheld(harness.storage.records, VIDEO.platform, VIDEO.id) is not None


async def test_stored_files_of_a_withheld_post_are_served(harness: DownloadHarness) -> None:
    await harness.run(selected())
    await withhold(harness.storage.records, VIDEO.platform, VIDEO.id, "removed")
    result = outcome(await harness.run(selected()))
    assert isinstance(result, Completed)
    assert result.files[0].reused
