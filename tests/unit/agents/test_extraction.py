from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.caching.video_info import CachedExtraction, VideoInfoCache
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.extraction import NAME, TABLE, ExtractionWork, engine_settings
from agents.platforms.registry import Platforms
from agents.step import step_handler
from schemas.codec import decode
from schemas.errors import ErrorCode
from schemas.events import ExtractedVideo, ValidatedVideo
from schemas.request import Options
from schemas.results import Completed
from streams.records import Effect
from streams.settings import EngineSettings
from streams.topics import EXTRACTED
from tests.unit.agents.builders import (
    URL,
    VIDEO,
    Clock,
    body_of,
    event_record,
    failure,
    make_extraction,
    make_settings,
    make_table,
    only,
    outcome,
    show,
    soon,
    transitions,
    validated,
    writes,
)
from tests.unit.platforms.tiktok.raws import EXTRACTED_AT, TOKEN, VERSIONS

PLATFORMS = Platforms.load()
LIFE = 1_800.0
DEADLINE = 40.0


class FakeEngine:
    def __init__(self, found: msgspec.Raw | EngineFailure) -> None:
        self.found = found
        self.jobs: list[EngineJob] = []

    async def extract(self, job: EngineJob) -> EngineResult:
        self.jobs.append(job)
        if isinstance(self.found, EngineFailure):
            raise EngineError(self.found)
        return EngineResult(raw=self.found, cookies=(TOKEN,), versions=VERSIONS)


class Kit:
    """The stage's handler over a fake engine, a clock and a table."""

    def __init__(self, found: msgspec.Raw | EngineFailure | None = None) -> None:
        self.engine = FakeEngine(found or make_extraction().raw)
        self.clock = Clock(EXTRACTED_AT.timestamp())
        self.table = make_table(TABLE)
        self.cache = VideoInfoCache(self.table.get, LIFE, self.clock)
        self.work = ExtractionWork(PLATFORMS, self.engine, self.cache, DEADLINE)

    async def run(self, event: ValidatedVideo) -> list[Effect]:
        handle = step_handler(NAME, ValidatedVideo, self.work.work)
        effects = list(await handle(event_record(event)))
        show(self.table, effects)
        return effects


def event_of(effects: list[Effect]) -> ExtractedVideo:
    return body_of(only(effects, EXTRACTED), ExtractedVideo)


async def test_what_is_unknown_is_asked_for_and_kept() -> None:
    kit = Kit()
    effects = await kit.run(validated())
    event = event_of(effects)
    assert (event.cache, event.video) == ("miss", VIDEO)
    assert bytes(event.extraction.raw) == bytes(make_extraction().raw)
    assert event.extraction.cookies == (TOKEN,)
    (row,) = writes(effects)
    assert (row.table, row.key) == (TABLE, VIDEO.key)
    assert transitions(effects) == ["extracted"]
    assert [(job.url, job.deadline_seconds) for job in kit.engine.jobs] == [(URL, DEADLINE)]


async def test_what_is_known_is_not_asked_for() -> None:
    kit = Kit()
    first = event_of(await kit.run(validated()))
    effects = await kit.run(validated(request_id="r2"))
    event = event_of(effects)
    assert (event.cache, event.job.request_id) == ("hit", "r2")
    assert event.extraction == first.extraction
    assert not writes(effects)
    assert len(kit.engine.jobs) == 1


async def test_a_refresh_asks_again_and_replaces_what_was_known() -> None:
    kit = Kit()
    await kit.run(validated())
    effects = await kit.run(validated(options=Options(refresh=True)))
    assert event_of(effects).cache == "miss"
    assert len(writes(effects)) == 1
    assert len(kit.engine.jobs) == 2


async def test_what_is_too_old_is_asked_for_again() -> None:
    kit = Kit()
    await kit.run(validated())
    kit.clock.now += LIFE - 0.1
    assert event_of(await kit.run(validated())).cache == "hit"
    kit.clock.now += 0.1
    assert event_of(await kit.run(validated())).cache == "miss"


async def test_nothing_outlives_its_links() -> None:
    kit = Kit()
    end = PLATFORMS.by_name("tiktok").get_expiry_seconds(make_extraction())
    assert end is not None
    kit.clock.now = end - 60
    (row,) = writes(await kit.run(validated()))
    assert decode(row.value or b"", CachedExtraction).expires_at == end
    kit.clock.now = end
    assert event_of(await kit.run(validated())).cache == "miss"


async def test_a_row_that_nobody_can_read_is_no_answer() -> None:
    kit = Kit()
    kit.cache = VideoInfoCache(lambda _: b"\xff", LIFE, kit.clock)
    kit.work = ExtractionWork(PLATFORMS, kit.engine, kit.cache, DEADLINE)
    assert event_of(await kit.run(validated())).cache == "miss"


async def test_info_ends_here() -> None:
    kit = Kit()
    effects = await kit.run(validated(action="info"))
    found = outcome(effects)
    assert isinstance(found, Completed)
    assert (found.video.id, found.files, found.cache) == (VIDEO.id, (), "miss")
    assert found.video.formats
    assert found.engine == VERSIONS
    assert len(writes(effects)) == 1
    assert outcome(await kit.run(validated(action="info"))).cache == "hit"


async def test_a_download_after_an_info_is_a_hit() -> None:
    kit = Kit()
    await kit.run(validated(action="info"))
    assert event_of(await kit.run(validated())).cache == "hit"


@pytest.mark.parametrize(
    ("left", "least", "most"), [(20.0, 15.0, 20.0), (10_000.0, DEADLINE, DEADLINE)]
)
async def test_the_deadline_bounds_the_engine(left: float, least: float, most: float) -> None:
    kit = Kit()
    await kit.run(validated(deadline=soon(left)))
    (job,) = kit.engine.jobs
    assert least <= job.deadline_seconds <= most


async def test_the_engine_has_a_second_at_least() -> None:
    kit = Kit()
    await kit.work.work(validated(deadline=soon(-5)))
    assert kit.engine.jobs[0].deadline_seconds == 1.0


FAILURES = {
    ErrorCode.NETWORK_TIMEOUT: EngineFailure(types=("EngineTimeout",), message="late"),
    ErrorCode.SYSTEM_ENGINE_CRASH: EngineFailure(types=("EngineCrash",), message="died"),
    ErrorCode.RATE_LIMIT_API: EngineFailure(
        types=("HTTPError",), message="429", status=429, retry_after="17"
    ),
    ErrorCode.CONTENT_NOT_FOUND: EngineFailure(
        types=("ExtractorError",), message="x", facts={"status_code": "10217"}
    ),
    ErrorCode.PLATFORM_CHANGED: EngineFailure(
        types=("ExtractorError",), message="Unexpected response from webpage request"
    ),
    ErrorCode.INTERNAL_BUG: EngineFailure(types=("KeyError",), message="oops"),
}


@pytest.mark.parametrize("code", FAILURES)
async def test_what_the_engine_cannot_do_is_a_failure(code: ErrorCode) -> None:
    kit = Kit(FAILURES[code])
    effects = await kit.run(validated())
    found = failure(effects)
    assert (found.step, found.error.error_type) == (NAME, code)
    assert found.retry_after_seconds == (17.0 if code is ErrorCode.RATE_LIMIT_API else None)
    assert decode(found.event.body, ValidatedVideo).video == VIDEO
    assert len(effects) == 1
    assert kit.table.get(VIDEO.key) is None


RAWS: dict[str, tuple[Any, ErrorCode]] = {
    "no object": ([], ErrorCode.PLATFORM_CHANGED),
    "no formats": ({}, ErrorCode.CONTENT_NO_FORMATS),
    "formats of nothing": ({"formats": [None, 7, {}]}, ErrorCode.CONTENT_NO_FORMATS),
}


@pytest.mark.parametrize("name", RAWS)
@pytest.mark.parametrize("action", ["download", "info"])
async def test_what_is_no_video_is_a_failure_and_not_kept(name: str, action: str) -> None:
    raw, code = RAWS[name]
    kit = Kit(msgspec.Raw(msgspec.json.encode(raw)))
    assert failure(await kit.run(validated(action=action))).error.error_type is code
    assert kit.table.get(VIDEO.key) is None


async def test_a_platform_that_is_gone_is_a_matter_of_settings() -> None:
    gone = msgspec.structs.replace(VIDEO, platform="gone")
    event = msgspec.structs.replace(validated(), video=gone)
    assert failure(await Kit().run(event)).error.error_type is ErrorCode.SYSTEM_CONFIG


def test_the_engine_is_set_up_by_the_settings(tmp_path: Path) -> None:
    engine = EngineSettings(processes=3, threads=2, request_timeout_seconds=7, page_bytes=1_000)
    found = engine_settings(make_settings(engine=engine, data_dir=tmp_path))
    assert (found.processes, found.threads_per_process) == (3, 2)
    assert (found.page_bytes_max, found.request_timeout_seconds) == (1_000, 7)
