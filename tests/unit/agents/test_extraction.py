from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.authentication.cookie_files import CookieFiles
from agents.caching.video_info import CachedExtraction, VideoInfoCache
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.extraction import NAME, TABLE, ExtractionWork, engine_settings
from agents.page_reading import PageReader
from agents.platforms.registry import Platforms
from agents.step import step_handler
from schemas.attempts import NetworkAttempt
from schemas.codec import decode, encode
from schemas.errors import ErrorCode
from schemas.events import ExtractedVideo, ValidatedVideo
from schemas.request import Options
from schemas.results import Completed
from schemas.signals import BREAKER, BreakerState
from streams.records import Effect
from streams.settings import EngineSettings
from streams.signals import Signals
from streams.topics import ATTEMPTS, EXTRACTED
from tests.unit.agents.builders import (
    FUTURE,
    URL,
    VIDEO,
    Clock,
    body_of,
    event_record,
    failure,
    make_context,
    make_extraction,
    make_gate,
    make_settings,
    make_table,
    only,
    outcome,
    sent_to,
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
        self.cache = VideoInfoCache(self.table.get, LIFE, self.clock, stale_seconds=3_600.0)
        self.files: dict[str, Path] = {}
        self.context, self.supplements = make_context(make_settings())

    @property
    def work(self) -> ExtractionWork:
        reader = PageReader(
            PLATFORMS,
            self.engine,
            gate=make_gate("extract", self.context),
            authenticator=CookieFiles(self.files),
            deadline_seconds=DEADLINE,
        )
        return ExtractionWork(PLATFORMS, reader, self.cache)

    async def run(self, event: ValidatedVideo) -> list[Effect]:
        handle = step_handler(NAME, ValidatedVideo, self.work.work, Signals())
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
    assert event_of(await kit.run(validated())).cache == "miss"


async def test_info_ends_here() -> None:
    kit = Kit()
    effects = await kit.run(validated(action="info"))
    found = outcome(effects)
    assert isinstance(found, Completed)
    assert found.video is not None
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
    assert decode(found.record.value, ValidatedVideo).video == VIDEO
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


# The network is behind the gate


def shut(kit: Kit) -> None:
    """The breaker of the only way out is open."""
    state = BreakerState(
        platform="tiktok",
        operation="extract",
        egress="direct",
        state="open",
        reason=ErrorCode.PLATFORM_CHANGED,
        since=EXTRACTED_AT,
        until=FUTURE,
    )
    kit.context.signals.put(f"{BREAKER}{state.name}", encode(state))


async def test_attempts_are_told_and_hits_are_none() -> None:
    kit = Kit()
    await kit.run(validated())
    await kit.run(validated())
    (told,) = [body_of(each, NetworkAttempt) for each in sent_to(kit.supplements, ATTEMPTS)]
    assert (told.name, told.subject, told.code) == ("tiktok:extract:direct", VIDEO.key, None)
    assert kit.engine.jobs[0].egress == "direct"


async def test_an_open_breaker_leaves_the_engine_alone() -> None:
    kit = Kit()
    shut(kit)
    found = failure(await kit.run(validated()))
    assert (found.error.error_type, found.permitted) == (ErrorCode.PLATFORM_CHANGED, False)
    assert (found.platform, found.operation, found.egress) == ("tiktok", "extract", "direct")
    assert kit.engine.jobs == []


async def test_a_failure_says_where_it_happened() -> None:
    kit = Kit(EngineFailure(types=("EngineTimeout",), message="late"))
    found = failure(await kit.run(validated()))
    assert found.permitted
    assert (found.platform, found.operation, found.egress) == ("tiktok", "extract", "direct")


async def test_what_is_fresh_is_served_behind_an_open_breaker() -> None:
    kit = Kit()
    await kit.run(validated())
    shut(kit)
    assert event_of(await kit.run(validated())).cache == "hit"


STALE: dict[str, tuple[dict[str, Any], float, bool]] = {
    "info": ({"action": "info"}, LIFE, True),
    "info, but wanted fresh": ({"action": "info", "options": Options(refresh=True)}, LIFE, False),
    "info, but too old": ({"action": "info"}, LIFE + 3_600.0, False),
    "download": ({"action": "download"}, LIFE, False),
}


@pytest.mark.parametrize("name", STALE)
async def test_an_old_answer_serves_info_behind_an_open_breaker(name: str) -> None:
    job, age, served = STALE[name]
    kit = Kit()
    await kit.run(validated())
    kit.clock.now += age
    shut(kit)
    effects = await kit.run(validated(**job))
    if served:
        assert (outcome(effects).cache, outcome(effects).video.id) == ("stale", VIDEO.id)
        assert not writes(effects)
    else:
        assert not failure(effects).permitted
    assert len(kit.engine.jobs) == 1


async def test_a_failed_attempt_is_no_reason_to_serve_an_old_answer() -> None:
    kit = Kit()
    await kit.run(validated())
    kit.clock.now += LIFE
    kit.engine.found = EngineFailure(types=("EngineTimeout",), message="late")
    assert failure(await kit.run(validated(action="info"))).permitted


# Cookies of an account


async def test_cookies_are_sent_only_when_the_job_asks_for_it(tmp_path: Path) -> None:
    kit = Kit()
    kit.files["tiktok"] = tmp_path / "cookies.txt"
    kit.files["tiktok"].write_text(".tiktok.com\tTRUE\t/\tTRUE\t0\tsessionid\ts3cret\n")
    await kit.run(validated())
    effects = await kit.run(validated(authenticate=True, options=Options(refresh=True)))
    first, second = kit.engine.jobs
    assert first.cookies == ()
    assert [(each.name, each.value) for each in second.cookies] == [("sessionid", "s3cret")]
    assert b"s3cret" not in (only(effects, EXTRACTED).value or b"")


async def test_a_cookie_file_that_is_none_is_a_matter_of_settings(tmp_path: Path) -> None:
    kit = Kit()
    kit.files["tiktok"] = tmp_path / "missing.txt"
    found = failure(await kit.run(validated(authenticate=True)))
    assert found.error.error_type is ErrorCode.SYSTEM_CONFIG
    assert kit.engine.jobs == []
