import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from agents.accounts.cookie_files import CookieFiles
from agents.accounts.interface import LoginSettings
from agents.caching.negative import REMEMBERED_SINCE, NegativeCache
from agents.caching.row_codec import unpack
from agents.caching.ttl_lru import BoundedCache, MemoryBackend
from agents.caching.upload_date import UploadDates
from agents.caching.video_info import VideoInfoCache
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.extraction.agent import NAME, TABLE, ExtractionWork
from agents.extraction.agent import stage as extraction_stage
from agents.extraction.page_reader import PageReader
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
from streams.intake import Intake
from streams.records import Effect, Incoming
from streams.runtime.back_pressure import BackPressureGate
from streams.runtime.concurrency import ConcurrencyLimit
from streams.runtime.consumption import Consumption
from streams.runtime.offset_tracker import InOrderAcks
from streams.runtime.processor import RecordProcessor
from streams.topics import ATTEMPTS, EXTRACTED, VALIDATED
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
from tests.unit.agents.caching.backends import Dictionary
from tests.unit.agents.platforms.tiktok.raws import EXTRACTED_AT, TOKEN, VERSIONS, raw_of

LIFE = 1_800.0
FAILURE_LIFE = 600.0
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

    def __init__(
        self,
        found: msgspec.Raw | EngineFailure | None = None,
        *,
        shared: Dictionary | None = None,
        engine: FakeEngine | None = None,
    ) -> None:
        self.engine = engine or FakeEngine(found or make_extraction().raw)
        self.clock = Clock(EXTRACTED_AT.timestamp())
        self.platforms = Platforms(
            [TikTok(lambda: datetime.fromtimestamp(self.clock.now + 0.001, UTC))]
        )
        self.table = make_table(TABLE)
        self.cache = VideoInfoCache(
            self.table.get, LIFE, self.clock, stale_seconds=3_600.0, shared=shared
        )
        self.failures = NegativeCache(
            FAILURE_LIFE,
            MemoryBackend(BoundedCache("negative", FAILURE_LIFE, clock=self.clock)),
            shared=shared,
            clock=self.clock,
        )
        self.dates = UploadDates()
        self.files: dict[str, tuple[Path, ...]] = {}
        self.logs_in = False
        self.context, self.supplements = make_context(make_settings())

    @property
    def work(self) -> ExtractionWork:
        reader = PageReader(
            self.platforms,
            self.engine,
            gate=make_gate("extract", self.context),
            authenticator=CookieFiles(LoginSettings(cookie_files=self.files)),
            deadline_seconds=DEADLINE,
        )
        return ExtractionWork(
            self.platforms,
            reader,
            self.cache,
            failures=self.failures,
            dates=self.dates,
            logs_in=lambda platform: self.logs_in and platform == "tiktok",
        )

    async def run(self, event: ValidatedVideo) -> list[Effect]:
        handle = step_handler(NAME, ValidatedVideo, self.work.work, SharedState())
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
    end = kit.platforms.by_name("tiktok").get_expiry_seconds(make_extraction())
    assert end is not None
    kit.clock.now = end - 60
    (row,) = writes(await kit.run(validated()))
    assert unpack(row.value or b"").expires_at == end
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
    cookies = tmp_path / "cookies.txt"
    kit.files["tiktok"] = (cookies,)
    cookies.write_text(".tiktok.com\tTRUE\t/\tTRUE\t0\tsessionid\ts3cret\n")
    await kit.run(validated())
    effects = await kit.run(validated(authenticate=True, options=Options(refresh=True)))
    first, second = kit.engine.jobs
    assert first.cookies == ()
    assert [(each.name, each.value) for each in second.cookies] == [("sessionid", "s3cret")]
    assert b"s3cret" not in (only(effects, EXTRACTED).value or b"")


async def test_a_cookie_file_that_is_none_is_a_matter_of_settings(tmp_path: Path) -> None:
    kit = Kit()
    kit.files["tiktok"] = (tmp_path / "missing.txt",)
    found = failure(await kit.run(validated(authenticate=True)))
    assert found.error.error_type is ErrorCode.SYSTEM_CONFIG
    assert kit.engine.jobs == []


# Videos that cannot be had

PAGE = make_extraction().raw


def gone() -> EngineFailure:
    return FAILURES[ErrorCode.CONTENT_NOT_FOUND]


@pytest.mark.parametrize("action", ["download", "info"])
async def test_a_video_that_is_gone_is_not_asked_for_again(action: str) -> None:
    kit = Kit(gone())
    first = failure(await kit.run(validated(action=action))).error
    again = failure(await kit.run(validated(action=action, request_id="r2"))).error
    assert (first.error_type, again.error_type) == (ErrorCode.CONTENT_NOT_FOUND,) * 2
    assert REMEMBERED_SINCE not in first.technical_details
    since = again.technical_details.pop(REMEMBERED_SINCE)
    assert again.technical_details == first.technical_details
    assert since == EXTRACTED_AT.isoformat()
    assert len(kit.engine.jobs) == 1
    assert len(sent_to(kit.supplements, ATTEMPTS)) == 1


ASKED_AGAIN: dict[str, tuple[dict[str, Any], float]] = {
    "its time is over": ({}, FAILURE_LIFE),
    "wanted fresh": ({"options": Options(refresh=True)}, 0),
    "with an account": ({"authenticate": True}, 0),
    "a user tries once more": ({"retry_of": "r1"}, 0),
}


@pytest.mark.parametrize("name", ASKED_AGAIN)
async def test_a_video_that_is_gone_is_asked_for_again_when(name: str) -> None:
    changes, age = ASKED_AGAIN[name]
    kit = Kit(gone())
    await kit.run(validated())
    kit.clock.now += age
    found = failure(await kit.run(validated(**changes)))
    assert REMEMBERED_SINCE not in found.error.technical_details
    assert len(kit.engine.jobs) == 2


async def test_a_video_that_came_back_is_had_and_stays() -> None:
    kit = Kit(gone())
    await kit.run(validated())
    kit.engine.found = PAGE
    assert event_of(await kit.run(validated(options=Options(refresh=True)))).cache == "miss"
    assert event_of(await kit.run(validated())).cache == "hit"
    kit.clock.now += LIFE
    assert event_of(await kit.run(validated())).cache == "miss"


PASSING = sorted(set(FAILURES) - {ErrorCode.CONTENT_NOT_FOUND})


@pytest.mark.parametrize("code", PASSING)
async def test_what_may_pass_is_asked_for_again(code: ErrorCode) -> None:
    kit = Kit(FAILURES[code])
    for _ in range(2):
        assert failure(await kit.run(validated())).error.error_type is code
    assert len(kit.engine.jobs) == 2


async def test_what_an_account_was_told_is_not_told_to_others(tmp_path: Path) -> None:
    kit = Kit(gone())
    kit.files["tiktok"] = (tmp_path / "cookies.txt",)
    kit.files["tiktok"][0].write_text(".tiktok.com\tTRUE\t/\tTRUE\t0\tsessionid\ts3cret\n")
    for _ in range(2):
        await kit.run(validated(authenticate=True))
    await kit.run(validated())
    assert len(kit.engine.jobs) == 3


async def test_where_accounts_are_the_rule_nothing_that_nobody_was_told_is_remembered() -> None:
    kit = Kit(gone())
    kit.logs_in = True
    failure(await kit.run(validated()))
    kit.engine.found = PAGE
    assert event_of(await kit.run(validated(request_id="r2"))).cache == "miss"


async def test_where_accounts_are_the_rule_nothing_that_nobody_was_told_is_believed() -> None:
    shared, engine = Dictionary(), FakeEngine(gone())
    nobody, rule = Kit(shared=shared, engine=engine), Kit(shared=shared, engine=engine)
    rule.logs_in = True
    failure(await nobody.run(validated()))
    found = failure(await rule.run(validated(request_id="r2")))
    assert REMEMBERED_SINCE not in found.error.technical_details
    assert len(engine.jobs) == 2


# What was found to be no good


async def test_links_that_are_refused_serve_nobody_although_the_page_cannot_be_read_anew() -> None:
    kit = Kit()
    await kit.run(validated())
    kit.engine.found = FAILURES[ErrorCode.NETWORK_TIMEOUT]
    failure(await kit.run(validated(options=Options(refresh=True))))
    failure(await kit.run(validated(request_id="r2")))
    assert len(kit.engine.jobs) == 3
    shut(kit)
    assert outcome(await kit.run(validated(action="info"))).cache == "stale"


async def test_a_job_that_comes_back_has_the_page_that_it_had() -> None:
    kit = Kit()
    first = event_of(await kit.run(validated(options=Options(refresh=True))))
    assert first.job.page == PageUse(read_at=first.extraction.extracted_at, reads=1)
    again = event_of(await kit.run(ValidatedVideo(job=first.job, video=VIDEO)))
    assert (again.cache, again.job.page) == ("miss", first.job.page)
    assert len(kit.engine.jobs) == 1


async def test_a_page_that_is_outdated_is_read_anew_once() -> None:
    kit = Kit()
    first = event_of(await kit.run(validated()))
    outdated = msgspec.structs.replace(first.job.page, outdated=True)
    job = msgspec.structs.replace(first.job, page=outdated)
    event = ValidatedVideo(job=job, video=VIDEO)
    kit.clock.now += 1
    second = event_of(await kit.run(event))
    assert (second.cache, second.job.page.reads, second.job.page.outdated) == ("miss", 2, False)
    # Another job with the same old page has the new one.
    third = event_of(await kit.run(event))
    assert (third.cache, third.job.page.read_at) == ("hit", second.job.page.read_at)
    assert len(kit.engine.jobs) == 2


async def test_a_page_that_another_job_had_is_older_than_ones_own() -> None:
    kit = Kit()
    first = event_of(await kit.run(validated()))
    later = first.extraction.extracted_at + timedelta(seconds=1)
    page = PageUse(read_at=later, reads=1)
    found = event_of(await kit.run(validated(request_id="r2", page=page)))
    assert (found.cache, found.job.page.reads) == ("miss", 2)


# Several who ask


MESSAGE_FIELDS = ("partition", "offset", "key", "value", "headers", "timestamp")


async def test_one_extraction_serves_all_who_ask_together() -> None:
    kit = Kit()
    context, _ = make_context(make_settings(), TABLE)
    kit.table = context.tables[TABLE]
    kit.cache = VideoInfoCache(kit.table.get, LIFE, kit.clock)
    written: list[Write] = []

    class Broker:
        async def publish(self, writes: list[Write]) -> list[None]:
            await asyncio.sleep(0)
            written.extend(writes)
            return [None] * len(writes)

    slots, finished = ConcurrencyLimit(16), asyncio.Queue[Incoming]()
    work = RecordProcessor(
        extraction_stage,
        step_handler(NAME, ValidatedVideo, kit.work.work, SharedState()),
        outbox=cast(ReliableProducer, Broker()),
        tables=context.tables,
        slots=slots,
        topic_prefix="",
        finished=finished.put_nowait,
    )
    consumer = SimpleNamespace(start_of=lambda _: None, acknowledge=lambda *_: None)
    flow = Consumption(
        extraction_stage,
        work.run,
        app=SimpleNamespace(consumer_generation_id=1, consumer=consumer),
        acks=InOrderAcks(),
        intake=Intake(NAME),
        signals=SharedState(),
        window=100,
        slots=slots,
        gate=BackPressureGate({}, lambda: 1.0),
        started_max=100,
    )
    actions = ["download", "info"] * 10
    events = [validated(action=each, request_id=f"b/{n}") for n, each in enumerate(actions)]
    for offset, event in enumerate(events):
        record = event_record(event, offset=offset)
        message = SimpleNamespace(
            tp=None,
            generation_id=1,
            **{name: getattr(record, name) for name in MESSAGE_FIELDS},
        )
        await flow.accept(VALIDATED, SimpleNamespace(message=message))
    for _ in events:
        await finished.get()
    assert len(kit.engine.jobs) == 1
    assert sum(write.topic == EXTRACTED.kafka_name("") for write in written) == 10


async def test_what_one_worker_reads_serves_the_next_owner_of_the_partition() -> None:
    shared, engine = Dictionary(), FakeEngine(PAGE)
    one, other = Kit(shared=shared, engine=engine), Kit(shared=shared, engine=engine)
    first = event_of(await one.run(validated()))
    effects = await other.run(validated(request_id="r2"))
    assert event_of(effects) == msgspec.structs.replace(
        first, job=event_of(effects).job, cache="hit"
    )
    assert len(writes(effects)) == 1
    assert len(engine.jobs) == 1
    assert not writes(await other.run(validated(request_id="r3")))


async def test_what_one_worker_was_told_serves_the_next() -> None:
    shared, engine = Dictionary(), FakeEngine(gone())
    one, other = Kit(shared=shared, engine=engine), Kit(shared=shared, engine=engine)
    await one.run(validated())
    found = failure(await other.run(validated()))
    assert REMEMBERED_SINCE in found.error.technical_details
    engine.found = PAGE
    await other.run(validated(options=Options(refresh=True)))
    assert set(shared.values) == {f"video_info:{VIDEO.key}"}


# When posts were published


async def test_a_date_that_a_page_lacks_is_filled_in() -> None:
    raw = raw_of()
    del raw["timestamp"]
    kit = Kit(msgspec.Raw(msgspec.json.encode(raw)))
    assert outcome(await kit.run(validated(action="info"))).video.published_at is None
    kit.dates.note(VIDEO.key, EXTRACTED_AT)
    assert outcome(await kit.run(validated(action="info"))).video.published_at == EXTRACTED_AT
