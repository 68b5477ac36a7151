import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from aiokafka.structs import RecordMetadata

from agents.accounts.cookie_files import CookieFiles
from agents.accounts.interface import LoginSettings
from agents.caching.metadata import UploadDates
from agents.caching.negative import CACHED_SINCE, NegativeCache
from agents.caching.row_codec import unpack
from agents.caching.ttl_lru import BoundedCache, MemoryBackend
from agents.caching.video_info import VideoInfoCache
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.extraction.agent import NAME
from agents.extraction.agent import stage as extraction_stage
from agents.extraction.page_reader import PageReader
from agents.extraction.videos import TABLE, VideoWork
from agents.pipeline.step import step_handler
from agents.platforms.registry import Platforms
from agents.platforms.tiktok.handler import TikTok
from schemas.attempts import NetworkAttempt
from schemas.codec import decode, encode
from schemas.errors import ErrorCode
from schemas.events import ExtractedVideo, ValidatedVideo
from schemas.job import PageUse
from schemas.request import Options
from schemas.results import Completed
from schemas.signals import BREAKER, BreakerState
from streams.cluster.producer import ReliableProducer, Write
from streams.cluster.shared_state import SharedState
from streams.faust_driver.tables import IndexedStageTable
from streams.intake import Intake
from streams.media_host_waits import MediaHostWaits
from streams.records import Effect, Incoming
from streams.runtime.back_pressure import BackPressureGate
from streams.runtime.concurrency import ConcurrencyLimit
from streams.runtime.consumption import Consumption
from streams.runtime.offset_tracker import OffsetTracker
from streams.runtime.processor import RecordProcessor
from streams.topics import ATTEMPTS, EXTRACTED, VALIDATED
from tests.unit.agents.builders import (
    ACKNOWLEDGEMENT,
    FUTURE,
    URL,
    VIDEO,
    Clock,
    apply_writes,
    body_of,
    event_record,
    failure,
    make_context,
    make_extraction,
    make_gate,
    make_indexed_table,
    make_settings,
    only_record,
    outcome,
    seconds_from_now,
    sent_to,
    transitions,
    validated,
    writes,
)
from tests.unit.agents.caching.backends import DictBackend
from tests.unit.agents.platforms.tiktok.extractions import EXTRACTED_AT, TOKEN, VERSIONS, raw_of

TTL_SECONDS = 1_800.0
FAILURE_TTL_SECONDS = 600.0
DEADLINE_SECONDS = 40.0


class FakeEngine:
    def __init__(self, found: msgspec.Raw | EngineFailure) -> None:
        self.found = found
        self.jobs: list[EngineJob] = []

    async def extract(self, job: EngineJob) -> EngineResult:
        self.jobs.append(job)
        if isinstance(self.found, EngineFailure):
            raise EngineError(self.found)
        return EngineResult(raw=self.found, cookies=(TOKEN,), versions=VERSIONS)


class ExtractionHarness:
    """The handler of the stage over a fake engine, a fake clock and a table."""

    def __init__(
        self,
        found: msgspec.Raw | EngineFailure | None = None,
        *,
        shared: DictBackend | None = None,
        engine: FakeEngine | None = None,
    ) -> None:
        self.engine = engine or FakeEngine(found or make_extraction().raw)
        self.clock = Clock(EXTRACTED_AT.timestamp())
        self.platforms = Platforms(
            [TikTok(lambda: datetime.fromtimestamp(self.clock.now + 0.001, UTC))]
        )
        self.table = make_indexed_table(TABLE, extraction_stage.indexes[TABLE])
        self.cache = VideoInfoCache(
            self.table.get, TTL_SECONDS, self.clock, stale_seconds=3_600.0, shared=shared
        )
        self.failures = NegativeCache(
            FAILURE_TTL_SECONDS,
            MemoryBackend(BoundedCache("negative", FAILURE_TTL_SECONDS, clock=self.clock)),
            shared=shared,
            clock=self.clock,
        )
        self.dates = UploadDates()
        self.files: dict[str, tuple[Path, ...]] = {}
        self.always_authenticates = False
        self.context, self.best_effort_records = make_context(make_settings())

    @property
    def work(self) -> VideoWork:
        reader = PageReader(
            self.platforms,
            self.engine,
            gate=make_gate("extract", self.context),
            authenticator=CookieFiles(LoginSettings(cookie_files=self.files)),
            deadline_seconds=DEADLINE_SECONDS,
            waits=MediaHostWaits(),
        )
        return VideoWork(
            self.platforms,
            reader,
            self.cache,
            failures=self.failures,
            dates=self.dates,
            authenticates=lambda platform: self.always_authenticates and platform == "tiktok",
        )

    async def run(self, event: ValidatedVideo) -> list[Effect]:
        handle = step_handler(NAME, ValidatedVideo, self.work.work, SharedState())
        effects = list(await handle(event_record(event)))
        apply_writes(self.table, effects)
        return effects


def extracted_event(effects: list[Effect]) -> ExtractedVideo:
    return body_of(only_record(effects, EXTRACTED), ExtractedVideo)


async def test_cache_miss_is_extracted_and_stored() -> None:
    harness = ExtractionHarness()
    effects = await harness.run(validated())
    event = extracted_event(effects)
    assert (event.cache, event.video) == ("miss", VIDEO)
    assert bytes(event.extraction.raw) == bytes(make_extraction().raw)
    assert event.extraction.cookies == (TOKEN,)
    (row,) = writes(effects)
    assert (row.table, row.key) == (TABLE, VIDEO.key)
    assert transitions(effects) == ["extracted"]
    assert [(job.url, job.deadline_seconds) for job in harness.engine.jobs] == [
        (URL, DEADLINE_SECONDS)
    ]


async def test_cache_hit_does_not_call_the_engine() -> None:
    harness = ExtractionHarness()
    first = extracted_event(await harness.run(validated()))
    effects = await harness.run(validated(request_id="r2"))
    event = extracted_event(effects)
    assert (event.cache, event.job.request_id) == ("hit", "r2")
    assert event.extraction == first.extraction
    assert not writes(effects)
    assert len(harness.engine.jobs) == 1


async def test_refresh_extracts_again_and_replaces_the_row() -> None:
    harness = ExtractionHarness()
    await harness.run(validated())
    effects = await harness.run(validated(options=Options(refresh=True)))
    assert extracted_event(effects).cache == "miss"
    assert len(writes(effects)) == 1
    assert len(harness.engine.jobs) == 2


async def test_expired_row_is_extracted_again() -> None:
    harness = ExtractionHarness()
    await harness.run(validated())
    harness.clock.now += TTL_SECONDS - 0.1
    assert extracted_event(await harness.run(validated())).cache == "hit"
    harness.clock.now += 0.1
    assert extracted_event(await harness.run(validated())).cache == "miss"


async def test_row_expires_with_its_links() -> None:
    harness = ExtractionHarness()
    end = harness.platforms.by_name("tiktok").get_expiry_seconds(make_extraction())
    assert end is not None
    harness.clock.now = end - 60
    (row,) = writes(await harness.run(validated()))
    assert unpack(row.value or b"").expires_at == end
    harness.clock.now = end
    assert extracted_event(await harness.run(validated())).cache == "miss"


async def test_undecodable_row_is_a_miss() -> None:
    harness = ExtractionHarness()
    harness.cache = VideoInfoCache(lambda _: b"\xff", TTL_SECONDS, harness.clock)
    assert extracted_event(await harness.run(validated())).cache == "miss"


async def test_info_request_completes_at_extraction() -> None:
    harness = ExtractionHarness()
    effects = await harness.run(validated(action="info"))
    found = outcome(effects)
    assert isinstance(found, Completed)
    assert found.video is not None
    assert (found.video.id, found.files, found.cache) == (VIDEO.id, (), "miss")
    assert found.video.formats
    assert found.engine == VERSIONS
    assert len(writes(effects)) == 1
    assert outcome(await harness.run(validated(action="info"))).cache == "hit"


async def test_download_after_an_info_is_a_cache_hit() -> None:
    harness = ExtractionHarness()
    await harness.run(validated(action="info"))
    assert extracted_event(await harness.run(validated())).cache == "hit"


@pytest.mark.parametrize(
    ("left", "least", "most"), [(20.0, 15.0, 20.0), (10_000.0, DEADLINE_SECONDS, DEADLINE_SECONDS)]
)
async def test_job_deadline_bounds_the_engine_deadline(
    left: float, least: float, most: float
) -> None:
    harness = ExtractionHarness()
    await harness.run(validated(deadline=seconds_from_now(left)))
    (job,) = harness.engine.jobs
    assert least <= job.deadline_seconds <= most


async def test_engine_deadline_is_at_least_one_second() -> None:
    harness = ExtractionHarness()
    await harness.work.work(validated(deadline=seconds_from_now(-5)))
    assert harness.engine.jobs[0].deadline_seconds == 1.0


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
async def test_engine_failure_is_published_as_a_failure(code: ErrorCode) -> None:
    harness = ExtractionHarness(FAILURES[code])
    effects = await harness.run(validated())
    found = failure(effects)
    assert (found.step, found.error.error_type) == (NAME, code)
    assert found.retry_after_seconds == (17.0 if code is ErrorCode.RATE_LIMIT_API else None)
    assert decode(found.record.value, ValidatedVideo).video == VIDEO
    assert len(effects) == 1
    assert harness.table.get(VIDEO.key) is None


UNUSABLE_PAGES: dict[str, tuple[Any, ErrorCode]] = {
    "not an object": ([], ErrorCode.PLATFORM_CHANGED),
    "no formats": ({}, ErrorCode.CONTENT_NO_FORMATS),
    "empty formats": ({"formats": [None, 7, {}]}, ErrorCode.CONTENT_NO_FORMATS),
}


@pytest.mark.parametrize("name", UNUSABLE_PAGES)
@pytest.mark.parametrize("action", ["download", "info"])
async def test_unusable_page_is_a_failure_and_not_cached(name: str, action: str) -> None:
    raw, code = UNUSABLE_PAGES[name]
    harness = ExtractionHarness(msgspec.Raw(msgspec.json.encode(raw)))
    assert failure(await harness.run(validated(action=action))).error.error_type is code
    assert harness.table.get(VIDEO.key) is None


async def test_unknown_platform_is_a_config_error() -> None:
    unknown = msgspec.structs.replace(VIDEO, platform="gone")
    event = msgspec.structs.replace(validated(), video=unknown)
    assert failure(await ExtractionHarness().run(event)).error.error_type is ErrorCode.SYSTEM_CONFIG


# Outbound gate


def open_breaker(harness: ExtractionHarness) -> None:
    """Open the breaker of the only egress."""
    state = BreakerState(
        platform="tiktok",
        operation="extract",
        egress="direct",
        state="open",
        reason=ErrorCode.PLATFORM_CHANGED,
        since=EXTRACTED_AT,
        until=FUTURE,
    )
    harness.context.shared_state.put(f"{BREAKER}{state.name}", encode(state))


async def test_attempts_are_reported_and_cache_hits_are_not() -> None:
    harness = ExtractionHarness()
    await harness.run(validated())
    await harness.run(validated())
    (reported,) = [
        body_of(each, NetworkAttempt) for each in sent_to(harness.best_effort_records, ATTEMPTS)
    ]
    assert (reported.name, reported.subject, reported.code) == (
        "tiktok:extract:direct",
        VIDEO.key,
        None,
    )
    assert harness.engine.jobs[0].egress == "direct"


async def test_open_breaker_does_not_call_the_engine() -> None:
    harness = ExtractionHarness()
    open_breaker(harness)
    found = failure(await harness.run(validated()))
    assert (found.error.error_type, found.permitted) == (ErrorCode.PLATFORM_CHANGED, False)
    assert (found.platform, found.operation, found.egress) == ("tiktok", "extract", "direct")
    assert harness.engine.jobs == []


async def test_failure_names_its_endpoint() -> None:
    harness = ExtractionHarness(EngineFailure(types=("EngineTimeout",), message="late"))
    found = failure(await harness.run(validated()))
    assert found.permitted
    assert (found.platform, found.operation, found.egress) == ("tiktok", "extract", "direct")


async def test_fresh_row_is_served_behind_an_open_breaker() -> None:
    harness = ExtractionHarness()
    await harness.run(validated())
    open_breaker(harness)
    assert extracted_event(await harness.run(validated())).cache == "hit"


STALE: dict[str, tuple[dict[str, Any], float, bool]] = {
    "info": ({"action": "info"}, TTL_SECONDS, True),
    "info with refresh": ({"action": "info", "options": Options(refresh=True)}, TTL_SECONDS, False),
    "info, expired": ({"action": "info"}, TTL_SECONDS + 3_600.0, False),
    "download": ({"action": "download"}, TTL_SECONDS, False),
}


@pytest.mark.parametrize("name", STALE)
async def test_stale_row_serves_info_behind_an_open_breaker(name: str) -> None:
    job, age, served = STALE[name]
    harness = ExtractionHarness()
    await harness.run(validated())
    harness.clock.now += age
    open_breaker(harness)
    effects = await harness.run(validated(**job))
    if served:
        assert (outcome(effects).cache, outcome(effects).video.id) == ("stale", VIDEO.id)
        assert not writes(effects)
    else:
        assert not failure(effects).permitted
    assert len(harness.engine.jobs) == 1


async def test_failed_attempt_does_not_serve_a_stale_row() -> None:
    harness = ExtractionHarness()
    await harness.run(validated())
    harness.clock.now += TTL_SECONDS
    harness.engine.found = EngineFailure(types=("EngineTimeout",), message="late")
    assert failure(await harness.run(validated(action="info"))).permitted


# Cookies of an account


async def test_cookies_are_sent_only_when_the_job_authenticates(tmp_path: Path) -> None:
    harness = ExtractionHarness()
    cookies = tmp_path / "cookies.txt"
    harness.files["tiktok"] = (cookies,)
    cookies.write_text(".tiktok.com\tTRUE\t/\tTRUE\t0\tsessionid\ts3cret\n")
    await harness.run(validated())
    effects = await harness.run(validated(authenticate=True, options=Options(refresh=True)))
    first, second = harness.engine.jobs
    assert first.cookies == ()
    assert [(each.name, each.value) for each in second.cookies] == [("sessionid", "s3cret")]
    assert b"s3cret" not in (only_record(effects, EXTRACTED).value or b"")


async def test_missing_cookie_file_is_a_config_error(tmp_path: Path) -> None:
    harness = ExtractionHarness()
    harness.files["tiktok"] = (tmp_path / "missing.txt",)
    found = failure(await harness.run(validated(authenticate=True)))
    assert found.error.error_type is ErrorCode.SYSTEM_CONFIG
    assert harness.engine.jobs == []


# Negative cache

PAGE = make_extraction().raw


def not_found_failure() -> EngineFailure:
    return FAILURES[ErrorCode.CONTENT_NOT_FOUND]


@pytest.mark.parametrize("action", ["download", "info"])
async def test_not_found_video_is_served_from_the_negative_cache(action: str) -> None:
    harness = ExtractionHarness(not_found_failure())
    first = failure(await harness.run(validated(action=action))).error
    again = failure(await harness.run(validated(action=action, request_id="r2"))).error
    assert (first.error_type, again.error_type) == (ErrorCode.CONTENT_NOT_FOUND,) * 2
    assert CACHED_SINCE not in first.technical_details
    since = again.technical_details.pop(CACHED_SINCE)
    assert again.technical_details == first.technical_details
    assert since == EXTRACTED_AT.isoformat()
    assert len(harness.engine.jobs) == 1
    assert len(sent_to(harness.best_effort_records, ATTEMPTS)) == 1


BYPASSED: dict[str, tuple[dict[str, Any], float]] = {
    "expired": ({}, FAILURE_TTL_SECONDS),
    "refresh": ({"options": Options(refresh=True)}, 0),
    "with an account": ({"authenticate": True}, 0),
    "user retry": ({"retry_of": "r1"}, 0),
}


@pytest.mark.parametrize("name", BYPASSED)
async def test_negative_cache_is_bypassed(name: str) -> None:
    changes, age = BYPASSED[name]
    harness = ExtractionHarness(not_found_failure())
    await harness.run(validated())
    harness.clock.now += age
    found = failure(await harness.run(validated(**changes)))
    assert CACHED_SINCE not in found.error.technical_details
    assert len(harness.engine.jobs) == 2


async def test_video_found_again_replaces_the_negative_entry() -> None:
    harness = ExtractionHarness(not_found_failure())
    await harness.run(validated())
    harness.engine.found = PAGE
    assert (
        extracted_event(await harness.run(validated(options=Options(refresh=True)))).cache == "miss"
    )
    assert extracted_event(await harness.run(validated())).cache == "hit"
    harness.clock.now += TTL_SECONDS
    assert extracted_event(await harness.run(validated())).cache == "miss"


TRANSIENT = sorted(set(FAILURES) - {ErrorCode.CONTENT_NOT_FOUND})


@pytest.mark.parametrize("code", TRANSIENT)
async def test_transient_failure_is_not_cached(code: ErrorCode) -> None:
    harness = ExtractionHarness(FAILURES[code])
    for _ in range(2):
        assert failure(await harness.run(validated())).error.error_type is code
    assert len(harness.engine.jobs) == 2


async def test_failure_with_an_account_is_not_served_to_others(tmp_path: Path) -> None:
    harness = ExtractionHarness(not_found_failure())
    harness.files["tiktok"] = (tmp_path / "cookies.txt",)
    harness.files["tiktok"][0].write_text(".tiktok.com\tTRUE\t/\tTRUE\t0\tsessionid\ts3cret\n")
    for _ in range(2):
        await harness.run(validated(authenticate=True))
    await harness.run(validated())
    assert len(harness.engine.jobs) == 3


async def test_anonymous_failure_is_not_stored_when_accounts_are_always_used() -> None:
    harness = ExtractionHarness(not_found_failure())
    harness.always_authenticates = True
    failure(await harness.run(validated()))
    harness.engine.found = PAGE
    assert extracted_event(await harness.run(validated(request_id="r2"))).cache == "miss"


async def test_anonymous_failure_is_not_served_when_accounts_are_always_used() -> None:
    shared, engine = DictBackend(), FakeEngine(not_found_failure())
    anonymous, authenticated = (
        ExtractionHarness(shared=shared, engine=engine),
        ExtractionHarness(shared=shared, engine=engine),
    )
    authenticated.always_authenticates = True
    failure(await anonymous.run(validated()))
    found = failure(await authenticated.run(validated(request_id="r2")))
    assert CACHED_SINCE not in found.error.technical_details
    assert len(engine.jobs) == 2


# Outdated pages


async def test_row_is_not_served_as_fresh_after_a_failed_refresh() -> None:
    harness = ExtractionHarness()
    await harness.run(validated())
    harness.engine.found = FAILURES[ErrorCode.NETWORK_TIMEOUT]
    failure(await harness.run(validated(options=Options(refresh=True))))
    failure(await harness.run(validated(request_id="r2")))
    assert len(harness.engine.jobs) == 3
    open_breaker(harness)
    assert outcome(await harness.run(validated(action="info"))).cache == "stale"


async def test_retried_job_gets_the_page_that_it_had() -> None:
    harness = ExtractionHarness()
    first = extracted_event(await harness.run(validated(options=Options(refresh=True))))
    assert first.job.page == PageUse(read_at=first.extraction.extracted_at, reads=1)
    again = extracted_event(await harness.run(ValidatedVideo(job=first.job, video=VIDEO)))
    assert (again.cache, again.job.page) == ("miss", first.job.page)
    assert len(harness.engine.jobs) == 1


async def test_outdated_page_is_read_again_once() -> None:
    harness = ExtractionHarness()
    first = extracted_event(await harness.run(validated()))
    outdated = msgspec.structs.replace(first.job.page, outdated=True)
    job = msgspec.structs.replace(first.job, page=outdated)
    event = ValidatedVideo(job=job, video=VIDEO)
    harness.clock.now += 1
    second = extracted_event(await harness.run(event))
    assert (second.cache, second.job.page.reads, second.job.page.outdated) == ("miss", 2, False)
    # Another job with the same outdated page gets the new one.
    third = extracted_event(await harness.run(event))
    assert (third.cache, third.job.page.read_at) == ("hit", second.job.page.read_at)
    assert len(harness.engine.jobs) == 2


async def test_row_older_than_the_page_of_the_job_is_a_miss() -> None:
    harness = ExtractionHarness()
    first = extracted_event(await harness.run(validated()))
    later = first.extraction.extracted_at + timedelta(seconds=1)
    page = PageUse(read_at=later, reads=1)
    found = extracted_event(await harness.run(validated(request_id="r2", page=page)))
    assert (found.cache, found.job.page.reads) == ("miss", 2)


# Concurrent requests


RECORD_FIELDS = ("partition", "offset", "key", "value", "headers")


async def test_concurrent_requests_share_one_extraction() -> None:
    harness = ExtractionHarness()
    context, _ = make_context(make_settings(), indexes=extraction_stage.indexes)
    harness.table = cast(IndexedStageTable, context.indexed_tables[TABLE])
    harness.cache = VideoInfoCache(harness.table.get, TTL_SECONDS, harness.clock)
    written: list[Write] = []

    class Broker:
        async def publish(self, writes: list[Write]) -> list[RecordMetadata]:
            await asyncio.sleep(0)
            written.extend(writes)
            return [ACKNOWLEDGEMENT] * len(writes)

    limit, finished = ConcurrencyLimit(16), asyncio.Queue[Incoming]()

    def finish(records: Sequence[Incoming]) -> None:
        for record in records:
            finished.put_nowait(record)

    work = RecordProcessor(
        extraction_stage,
        step_handler(NAME, ValidatedVideo, harness.work.work, SharedState()),
        producer=cast(ReliableProducer, Broker()),
        tables={TABLE: harness.table},
        concurrency_limit=limit,
        topic_prefix="",
        on_finished=finish,
    )
    consumer = SimpleNamespace(
        start_offset=lambda _: None, acknowledge=lambda *_: None, flow_active=True
    )
    consumption = Consumption(
        extraction_stage,
        app=SimpleNamespace(consumer_generation_id=1, consumer=consumer),
        offsets=OffsetTracker(),
        intake=Intake(NAME),
        shared_state=SharedState(),
        window=100,
        concurrency_limit=limit,
        gate=BackPressureGate({}, lambda: 1.0),
        started_max=100,
    )
    consumption.dispatcher.tasks.processor = work
    actions = ["download", "info"] * 10
    events = [validated(action=each, request_id=f"b/{n}") for n, each in enumerate(actions)]
    for offset, event in enumerate(events):
        record = event_record(event, offset=offset)
        polled = SimpleNamespace(**{name: getattr(record, name) for name in RECORD_FIELDS})
        polled.timestamp = round(record.timestamp * 1000)
        await consumption.accept(VALIDATED, None, polled, 1)
    for _ in events:
        await finished.get()
    assert len(harness.engine.jobs) == 1
    assert sum(write.topic == EXTRACTED.kafka_name("") for write in written) == 10


async def test_shared_cache_serves_the_next_owner_of_the_partition() -> None:
    shared, engine = DictBackend(), FakeEngine(PAGE)
    one, other = (
        ExtractionHarness(shared=shared, engine=engine),
        ExtractionHarness(shared=shared, engine=engine),
    )
    first = extracted_event(await one.run(validated()))
    effects = await other.run(validated(request_id="r2"))
    assert extracted_event(effects) == msgspec.structs.replace(
        first, job=extracted_event(effects).job, cache="hit"
    )
    assert len(writes(effects)) == 1
    assert len(engine.jobs) == 1
    assert not writes(await other.run(validated(request_id="r3")))


async def test_shared_negative_cache_serves_another_worker() -> None:
    shared, engine = DictBackend(), FakeEngine(not_found_failure())
    one, other = (
        ExtractionHarness(shared=shared, engine=engine),
        ExtractionHarness(shared=shared, engine=engine),
    )
    await one.run(validated())
    found = failure(await other.run(validated()))
    assert CACHED_SINCE in found.error.technical_details
    engine.found = PAGE
    await other.run(validated(options=Options(refresh=True)))
    assert set(shared.values) == {f"video_info:{VIDEO.key}"}


# Upload dates


async def test_missing_publication_date_is_filled_in() -> None:
    raw = raw_of()
    del raw["timestamp"]
    harness = ExtractionHarness(msgspec.Raw(msgspec.json.encode(raw)))
    assert outcome(await harness.run(validated(action="info"))).video.published_at is None
    harness.dates.put(VIDEO.key, EXTRACTED_AT)
    assert outcome(await harness.run(validated(action="info"))).video.published_at == EXTRACTED_AT
