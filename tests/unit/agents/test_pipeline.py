"""A request's whole way, from stage to stage by hand: what one writes, the next one reads."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.accounts.cookie_files import CookieFiles
from agents.accounts.interface import LoginSettings
from agents.caching.video_info import VideoInfoCache
from agents.delay import handle as delay
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.extraction.agent import ExtractionWork
from agents.extraction.page_reader import PageReader
from agents.ledger.agent import Ledger
from agents.ledger.batches import Batches
from agents.network.download import Fetched, FetchLimits, OnBytes
from agents.pipeline.step import step_handler
from agents.platforms.registry import Platforms
from agents.recovery.agent import Recovery
from agents.recovery.error_handlers import ErrorHandlers
from agents.selection import Selection
from agents.storage.local import LocalStorage
from agents.validation.agent import Validation
from agents.validation.url_resolution import TargetFinder
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import ExtractedVideo, SelectedVideo, ValidatedVideo
from schemas.results import (
    BatchCounts,
    BatchFinished,
    Completed,
    Expired,
    Failed,
    PublishedResult,
    Rejected,
)
from schemas.video import MediaSource
from streams.cluster.shared_state import SharedState
from streams.records import Incoming, Outgoing
from streams.stage import SlicingHandler, StageContext, Table
from streams.topics import AUDIT, DELAYS, ERRORS, EXTRACTED, REQUESTS, RESULTS, SELECTED, VALIDATED
from tests.unit.agents.builders import (
    FUTURE,
    SHORT_URL,
    URL,
    VIDEO,
    WRITTEN_AT,
    FakeLinks,
    all_of,
    arrive,
    body_of,
    dead_letters,
    make_context,
    make_extraction,
    make_gate,
    make_settings,
    make_table,
    request,
    show,
    transitions,
)
from tests.unit.agents.download.downloads import make_download
from tests.unit.agents.platforms.tiktok.extractions import EXTRACTED_AT, TOKEN, VERSIONS

PLATFORMS = Platforms.load()
REPLY_TOPICS = ("billing", "archive")
NOW = EXTRACTED_AT.timestamp()


class Tools:
    """Engine and fetcher that fail as often as they are told to, one after the other."""

    def __init__(self) -> None:
        self.engine: list[EngineFailure] = []
        self.fetcher: list[ClipmillError] = []
        self.asked: list[str] = []

    async def extract(self, job: EngineJob) -> EngineResult:
        assert job.url == URL
        self.asked.append("page")
        if self.engine:
            raise EngineError(self.engine.pop(0))
        return EngineResult(raw=make_extraction().raw, cookies=(TOKEN,), versions=VERSIONS)

    async def fetch(
        self,
        source: MediaSource,
        target: Path,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
        on_bytes: OnBytes,
    ) -> Fetched:
        self.asked.append("media")
        assert source.url.startswith("https://")
        assert hosts
        assert limits.max_bytes
        if self.fetcher:
            raise self.fetcher.pop(0)
        await asyncio.to_thread(target.write_bytes, b"media")
        on_bytes(5, 5)
        return Fetched(bytes=5, sha256="0" * 64, mime_type="video/mp4")


class Pipeline:
    """All stages in one loop; everything that is written is read at once."""

    def __init__(self, storage: LocalStorage, folder: Path) -> None:
        self.tools, self.links = Tools(), FakeLinks()
        context, _ = make_context(make_settings(data_dir=folder), "files")
        rows, outcomes = make_table("video-info"), make_table("outcomes")
        counts = make_table("batches")
        self.tables: list[Table] = [rows, outcomes, counts, context.tables["files"]]
        cache = VideoInfoCache(rows.get, 60.0, lambda: NOW)
        extraction = ExtractionWork(
            PLATFORMS,
            PageReader(
                PLATFORMS,
                self.tools,
                gate=make_gate("extract", context),
                authenticator=CookieFiles(LoginSettings()),
                deadline_seconds=40.0,
            ),
            cache,
        )
        download = make_download(storage, {"direct": self.tools}, context)
        recovery = Recovery(
            context.settings,
            context.signals,
            ErrorHandlers({}),
            uniform=lambda: 0.0,
            clock=lambda: WRITTEN_AT,
        )
        selection = Selection(PLATFORMS)
        self.handlers: dict[str, SlicingHandler] = {
            REQUESTS.name: self.validation(context),
            VALIDATED.name: step_handler(
                "extraction", ValidatedVideo, extraction.work, SharedState()
            ),
            EXTRACTED.name: step_handler(
                "selection", ExtractedVideo, selection.work, SharedState()
            ),
            SELECTED.name: step_handler("download", SelectedVideo, download.work, SharedState()),
            ERRORS.name: recovery.handle,
            AUDIT.name: Ledger(
                outcomes.get,
                Batches(counts.get, open_seconds=60.0, remember_seconds=60.0),
                open_seconds=60.0,
                remember_seconds=60.0,
            ).handle,
            **{topic.name: delay for topic in DELAYS},
        }
        self.written: list[Outgoing] = []

    def validation(self, context: StageContext) -> SlicingHandler:
        gate = make_gate("resolve", context)
        finder = TargetFinder(PLATFORMS, {"direct": self.links}, gate)
        return Validation(finder, SharedState(), REPLY_TOPICS).handle

    async def run(self, *records: Incoming) -> dict[str, Any]:
        """Return the results by request id; fails when a request has more than one."""
        todo = list(records)
        for offset in range(10_000):
            if not todo:
                break
            record = todo.pop(0)
            effects = await all_of(await self.handlers[record.topic](record))
            for table in self.tables:
                show(table, effects)
            fresh = [each for each in effects if isinstance(each, Outgoing)]
            self.written += fresh
            todo += [
                arrive(each, offset=1_000 + offset * 100 + place)
                for place, each in enumerate(fresh)
                if each.topic.name in self.handlers
            ]
        return self.results()

    def results(self) -> dict[str, Any]:
        sent = [each for each in self.written if each.topic is RESULTS]
        kind: Any = PublishedResult
        found = {(each.key or b"").decode(): body_of(each, kind) for each in sent}
        assert len(found) == len(sent)
        return found


@pytest.fixture
async def pipeline(tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with LocalStorage.open(tmp_path) as storage:
        yield Pipeline(storage, tmp_path)


async def test_a_request_becomes_a_file(pipeline: Pipeline) -> None:
    found = await pipeline.run(request({"id": "r1", "url": URL, "attributes": {"a": "b"}}))
    done = found["r1"]
    assert isinstance(done, Completed)
    assert done.video is not None
    assert (done.video.id, done.attempts, done.attributes) == (VIDEO.id, 1, {"a": "b"})
    assert set(done.timings) == {"validation", "extraction", "selection", "download"}
    assert done.files[0].bytes == 5


async def test_a_batch_has_one_result_for_each_url(pipeline: Pipeline) -> None:
    urls = [URL, SHORT_URL, 7, "https://example.com", URL]
    found = await pipeline.run(request({"id": "b", "urls": urls}))
    kinds = [type(found[f"b/{index}"]) for index in range(5)]
    assert kinds == [Completed, Completed, Rejected, Rejected, Completed]
    assert pipeline.tools.asked == ["page", "media"]
    summary = found.pop("b")
    assert [each.batch_index for each in found.values()] == [
        int(name.removeprefix("b/")) for name in found
    ]
    assert isinstance(summary, BatchFinished)
    assert summary.counts == BatchCounts(completed=3, rejected=2)
    assert summary.finished_at == max(each.finished_at for each in found.values())


async def test_asking_twice_with_one_id_gives_one_result(pipeline: Pipeline) -> None:
    first = request({"id": "r1", "url": URL})
    second = request({"id": "r1", "url": "https://example.com"}, offset=8)
    assert list(await pipeline.run(first, second)) == ["r1"]
    assert transitions(pipeline.written).count("repeated") == 1


async def test_a_record_read_twice_gives_one_result(pipeline: Pipeline) -> None:
    record = request({"url": URL})
    assert list(await pipeline.run(record, record)) == [record.record_id]
    assert "repeated" not in transitions(pipeline.written)


async def test_a_short_link_that_is_resolved_later_is_no_duplicate(pipeline: Pipeline) -> None:
    record = request({"id": "b", "urls": [SHORT_URL, SHORT_URL]})
    assert list(await pipeline.run(record, record)) == ["b/0", "b/1", "b"]
    assert "repeated" not in transitions(pipeline.written)


async def test_failures_on_the_way_are_told_in_the_end(pipeline: Pipeline) -> None:
    pipeline.tools.engine = [
        EngineFailure(types=("EngineTimeout",), message="late"),
        EngineFailure(types=("EngineCrash",), message="died"),
    ]
    pipeline.tools.fetcher = [
        ClipmillError(ErrorCode.NETWORK_CONNECTION, "broke"),
        ClipmillError(ErrorCode.CONTENT_LINK_EXPIRED, "403"),
    ]
    done = (await pipeline.run(request({"id": "r1", "url": URL})))["r1"]
    assert isinstance(done, Completed)
    assert [(each.step, each.code) for each in done.recovery] == [
        ("extraction", ErrorCode.NETWORK_TIMEOUT),
        ("extraction", ErrorCode.SYSTEM_ENGINE_CRASH),
        ("download", ErrorCode.NETWORK_CONNECTION),
        ("download", ErrorCode.CONTENT_LINK_EXPIRED),
    ]
    assert done.attempts == 5
    assert pipeline.tools.asked == ["page"] * 3 + ["media"] * 2 + ["page", "media"]


async def test_what_never_works_ends_with_all_its_attempts(pipeline: Pipeline) -> None:
    pipeline.tools.engine = [EngineFailure(types=("EngineTimeout",), message="late")] * 50
    failed = (await pipeline.run(request({"id": "r1", "url": URL})))["r1"]
    assert isinstance(failed, Failed)
    assert failed.error.error_type is ErrorCode.NETWORK_TIMEOUT
    assert (failed.attempts, len(failed.recovery)) == (5, 5)


async def test_what_the_operator_must_mend_is_kept_too(pipeline: Pipeline) -> None:
    pipeline.tools.engine = [EngineFailure(types=("KeyError",), message="bug")] * 50
    failed = (await pipeline.run(request({"id": "r1", "url": URL})))["r1"]
    assert failed.error.error_type is ErrorCode.INTERNAL_BUG
    assert len(dead_letters(pipeline.written)) == 1


async def test_a_short_link_is_resolved_in_the_end(pipeline: Pipeline) -> None:
    pipeline.links.found = ClipmillError(ErrorCode.NETWORK_DNS, "no name")
    failed = (await pipeline.run(request({"id": "r1", "url": SHORT_URL})))["r1"]
    assert failed.error.error_type is ErrorCode.NETWORK_DNS
    assert (failed.attempts, failed.url) == (5, SHORT_URL)
    assert len(pipeline.links.resolved_urls) == 5


async def test_info_needs_no_media(pipeline: Pipeline) -> None:
    done = (await pipeline.run(request({"id": "r1", "url": URL, "action": "info"})))["r1"]
    assert (done.files, pipeline.tools.asked) == ((), ["page"])


async def test_ids_are_unique_among_all_that_one_request_leads_to(pipeline: Pipeline) -> None:
    pipeline.tools.engine = [EngineFailure(types=("EngineTimeout",), message="late")] * 2
    pipeline.tools.fetcher = [ClipmillError(ErrorCode.CONTENT_LINK_EXPIRED, "403")] * 2
    await pipeline.run(request({"id": "r1", "url": URL}))
    waited = {topic.name for topic in DELAYS}
    ids = [
        arrive(each).header("ce_id") for each in pipeline.written if each.topic.name not in waited
    ]
    assert len(set(ids)) == len(ids)


async def test_one_trace_leads_through_everything(pipeline: Pipeline) -> None:
    body = {"id": "r1", "url": URL, "deadline": FUTURE.isoformat()}
    found = await pipeline.run(request(body))
    for each in pipeline.written:
        record = arrive(each)
        assert (record.header("traceparent") or "")[3:35] == found["r1"].trace_id
        assert record.header("ce_correlationid") == "r1"


async def test_a_deadline_ends_what_waits(pipeline: Pipeline) -> None:
    record = request({"id": "r1", "url": URL})
    (accepted,) = [
        each
        for each in await all_of(await pipeline.handlers[REQUESTS.name](record))
        if isinstance(each, Outgoing) and each.topic is VALIDATED
    ]
    event = body_of(accepted, ValidatedVideo)
    late = msgspec.structs.replace(
        event, job=msgspec.structs.replace(event.job, deadline=WRITTEN_AT)
    )
    value = msgspec.json.encode(late)
    found = await pipeline.run(arrive(Outgoing(VALIDATED, accepted.key, value, accepted.headers)))
    assert isinstance(found["r1"], Expired)
