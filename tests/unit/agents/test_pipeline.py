"""The pipeline in memory: each stage consumes what the others produce."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.accounts.cookie_files import CookieFiles
from agents.accounts.interface import LoginSettings
from agents.caching.video_info import VideoInfoCache
from agents.delay import handle as delay
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.extraction.page_reader import PageReader
from agents.extraction.videos import VideoWork
from agents.ledger.agent import Ledger
from agents.ledger.batches import Batches
from agents.network.download import Fetched
from agents.network.transfer import FetchLimits, OnBytes
from agents.pipeline.step import step_handler
from agents.platforms.registry import Platforms
from agents.recovery.agent import Recovery
from agents.recovery.error_handlers import ErrorHandlers
from agents.recovery.media_hosts import MediaHostRecorder
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
from streams.media_host_waits import MediaHostWaits
from streams.records import Effect, Incoming, Outgoing
from streams.stage import SlicingHandler, StageContext, SyncFirstHandler, Table, synchronous
from streams.topics import AUDIT, DELAYS, ERRORS, EXTRACTED, REQUESTS, RESULTS, SELECTED, VALIDATED
from tests.unit.agents.builders import (
    FUTURE,
    SHORT_URL,
    URL,
    VIDEO,
    WRITTEN_AT,
    FakeLinks,
    apply_writes,
    as_incoming,
    body_of,
    collect_effects,
    dead_letters,
    make_context,
    make_extraction,
    make_gate,
    make_settings,
    make_table,
    request,
    transitions,
)
from tests.unit.agents.download.downloads import WholeFiles, make_download
from tests.unit.agents.platforms.tiktok.extractions import EXTRACTED_AT, TOKEN, VERSIONS

PLATFORMS = Platforms.load()
REPLY_TOPICS = ("billing", "archive")
NOW = EXTRACTED_AT.timestamp()


class Tools(WholeFiles):
    """Engine and fetcher that raise the given errors one after the other, then succeed."""

    def __init__(self) -> None:
        self.engine: list[EngineFailure] = []
        self.fetcher: list[ClipmillError] = []
        self.calls: list[str] = []

    async def extract(self, job: EngineJob) -> EngineResult:
        assert job.url == URL
        self.calls.append("page")
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
        self.calls.append("media")
        assert source.url.startswith("https://")
        assert hosts
        assert limits.max_bytes
        if self.fetcher:
            raise self.fetcher.pop(0)
        await asyncio.to_thread(target.write_bytes, b"media")
        on_bytes(5, 5)
        return Fetched(bytes=5, sha256="0" * 64, mime_type="video/mp4")


class Pipeline:
    """All stages in one loop; every produced record is consumed at once.

    Args:
        is_sync: take the synchronous path of handlers where it is possible.
    """

    def __init__(self, storage: LocalStorage, folder: Path, *, is_sync: bool = False) -> None:
        self.is_sync = is_sync
        self.tools, self.links = Tools(), FakeLinks()
        context, _ = make_context(make_settings(data_dir=folder), "files")
        rows, outcomes = make_table("video-info"), make_table("outcomes")
        counts = make_table("batches")
        self.tables: list[Table] = [rows, outcomes, counts, context.tables["files"]]
        cache = VideoInfoCache(rows.get, 60.0, lambda: NOW)
        extraction = VideoWork(
            PLATFORMS,
            PageReader(
                PLATFORMS,
                self.tools,
                gate=make_gate("extract", context),
                authenticator=CookieFiles(LoginSettings()),
                deadline_seconds=40.0,
                waits=MediaHostWaits(),
            ),
            cache,
        )
        download = make_download(storage, {"direct": self.tools}, context)
        recovery = Recovery(
            context.settings,
            context.shared_state,
            ErrorHandlers({}),
            uniform=lambda: 0.0,
            clock=lambda: WRITTEN_AT,
            media_hosts=MediaHostRecorder(MediaHostWaits()),
        )
        selection = Selection(PLATFORMS)
        self.handlers: dict[str, SlicingHandler] = {
            REQUESTS.name: self.validation(context),
            VALIDATED.name: step_handler(
                "extraction",
                ValidatedVideo,
                extraction.work,
                SharedState(),
                work_sync=extraction.work_sync,
            ),
            EXTRACTED.name: step_handler(
                "selection",
                ExtractedVideo,
                selection.work,
                SharedState(),
                work_sync=selection.select,
            ),
            SELECTED.name: step_handler("download", SelectedVideo, download.work, SharedState()),
            ERRORS.name: recovery.handle,
            AUDIT.name: synchronous(
                Ledger(
                    outcomes.get,
                    Batches(counts.get, open_seconds=60.0, remember_seconds=60.0),
                    open_seconds=60.0,
                    remember_seconds=60.0,
                ).handle
            ),
            **{topic.name: delay for topic in DELAYS},
        }
        self.written: list[Outgoing] = []

    def validation(self, context: StageContext) -> SlicingHandler:
        gate = make_gate("resolve", context)
        finder = TargetFinder(PLATFORMS, {"direct": self.links}, gate)
        work = Validation(finder, SharedState(), REPLY_TOPICS)
        return SyncFirstHandler(work.handle_sync, work.handle)

    async def run(self, *records: Incoming) -> dict[str, Any]:
        """Return the results by request id; fails when a request has more than one."""
        pending = list(records)
        for offset in range(10_000):
            if not pending:
                break
            record = pending.pop(0)
            effects = await self._handle(self.handlers[record.topic], record)
            for table in self.tables:
                apply_writes(table, effects)
            produced = [each for each in effects if isinstance(each, Outgoing)]
            self.written += produced
            pending += [
                as_incoming(each, offset=1_000 + offset * 100 + index)
                for index, each in enumerate(produced)
                if each.topic.name in self.handlers
            ]
        return self.results()

    async def _handle(self, handler: SlicingHandler, record: Incoming) -> Sequence[Effect]:
        if self.is_sync and isinstance(handler, SyncFirstHandler):
            effects = handler.sync(record)
            if effects is not None:
                return effects
        return await collect_effects(await handler(record))

    def results(self) -> dict[str, Any]:
        sent = [each for each in self.written if each.topic is RESULTS]
        kind: Any = PublishedResult
        found = {(each.key or b"").decode(): body_of(each, kind) for each in sent}
        assert len(found) == len(sent)
        return found


@pytest.fixture(params=[False, True], ids=["asynchronous", "synchronous"])
async def pipeline(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Pipeline]:
    async with LocalStorage.open(tmp_path) as storage:
        yield Pipeline(storage, tmp_path, is_sync=request.param)


async def test_request_yields_a_file(pipeline: Pipeline) -> None:
    found = await pipeline.run(request({"id": "r1", "url": URL, "attributes": {"a": "b"}}))
    done = found["r1"]
    assert isinstance(done, Completed)
    assert done.video is not None
    assert (done.video.id, done.attempts, done.attributes) == (VIDEO.id, 1, {"a": "b"})
    assert set(done.timings) == {"validation", "extraction", "selection", "download"}
    assert done.files[0].bytes == 5


async def test_batch_has_one_result_per_url(pipeline: Pipeline) -> None:
    urls = [URL, SHORT_URL, 7, "https://example.com", URL]
    found = await pipeline.run(request({"id": "b", "urls": urls}))
    kinds = [type(found[f"b/{index}"]) for index in range(5)]
    assert kinds == [Completed, Completed, Rejected, Rejected, Completed]
    assert pipeline.tools.calls == ["page", "media"]
    summary = found.pop("b")
    assert [each.batch_index for each in found.values()] == [
        int(name.removeprefix("b/")) for name in found
    ]
    assert isinstance(summary, BatchFinished)
    assert summary.counts == BatchCounts(completed=3, rejected=2)
    assert summary.finished_at == max(each.finished_at for each in found.values())


async def test_duplicate_request_id_yields_one_result(pipeline: Pipeline) -> None:
    first = request({"id": "r1", "url": URL})
    second = request({"id": "r1", "url": "https://example.com"}, offset=8)
    assert list(await pipeline.run(first, second)) == ["r1"]
    assert transitions(pipeline.written).count("repeated") == 1


async def test_redelivered_request_yields_one_result(pipeline: Pipeline) -> None:
    record = request({"url": URL})
    assert list(await pipeline.run(record, record)) == [record.record_id]
    assert "repeated" not in transitions(pipeline.written)


async def test_short_link_resolved_later_is_no_duplicate(pipeline: Pipeline) -> None:
    record = request({"id": "b", "urls": [SHORT_URL, SHORT_URL]})
    assert list(await pipeline.run(record, record)) == ["b/0", "b/1", "b"]
    assert "repeated" not in transitions(pipeline.written)


async def test_result_lists_the_recovered_failures(pipeline: Pipeline) -> None:
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
    assert pipeline.tools.calls == ["page"] * 3 + ["media"] * 2 + ["page", "media"]


async def test_persistent_failure_ends_after_all_its_attempts(pipeline: Pipeline) -> None:
    pipeline.tools.engine = [EngineFailure(types=("EngineTimeout",), message="late")] * 50
    failed = (await pipeline.run(request({"id": "r1", "url": URL})))["r1"]
    assert isinstance(failed, Failed)
    assert failed.error.error_type is ErrorCode.NETWORK_TIMEOUT
    assert (failed.attempts, len(failed.recovery)) == (5, 5)


async def test_bug_is_dead_lettered_too(pipeline: Pipeline) -> None:
    pipeline.tools.engine = [EngineFailure(types=("KeyError",), message="bug")] * 50
    failed = (await pipeline.run(request({"id": "r1", "url": URL})))["r1"]
    assert failed.error.error_type is ErrorCode.INTERNAL_BUG
    assert len(dead_letters(pipeline.written)) == 1


async def test_unresolvable_short_link_ends_after_all_its_attempts(pipeline: Pipeline) -> None:
    pipeline.links.found = ClipmillError(ErrorCode.NETWORK_DNS, "no name")
    failed = (await pipeline.run(request({"id": "r1", "url": SHORT_URL})))["r1"]
    assert failed.error.error_type is ErrorCode.NETWORK_DNS
    assert (failed.attempts, failed.url) == (5, SHORT_URL)
    assert len(pipeline.links.resolved_urls) == 5


async def test_info_request_fetches_no_media(pipeline: Pipeline) -> None:
    done = (await pipeline.run(request({"id": "r1", "url": URL, "action": "info"})))["r1"]
    assert (done.files, pipeline.tools.calls) == ((), ["page"])


async def test_event_ids_of_one_request_are_unique(pipeline: Pipeline) -> None:
    pipeline.tools.engine = [EngineFailure(types=("EngineTimeout",), message="late")] * 2
    pipeline.tools.fetcher = [ClipmillError(ErrorCode.CONTENT_LINK_EXPIRED, "403")] * 2
    await pipeline.run(request({"id": "r1", "url": URL}))
    delay_topics = {topic.name for topic in DELAYS}
    ids = [
        as_incoming(each).header("ce_id")
        for each in pipeline.written
        if each.topic.name not in delay_topics
    ]
    assert len(set(ids)) == len(ids)


async def test_all_records_of_a_request_share_one_trace(pipeline: Pipeline) -> None:
    body = {"id": "r1", "url": URL, "deadline": FUTURE.isoformat()}
    found = await pipeline.run(request(body))
    for each in pipeline.written:
        record = as_incoming(each)
        assert (record.header("traceparent") or "")[3:35] == found["r1"].trace_id
        assert record.header("ce_correlationid") == "r1"


async def test_past_deadline_expires_a_waiting_event(pipeline: Pipeline) -> None:
    record = request({"id": "r1", "url": URL})
    (accepted,) = [
        each
        for each in await collect_effects(await pipeline.handlers[REQUESTS.name](record))
        if isinstance(each, Outgoing) and each.topic is VALIDATED
    ]
    event = body_of(accepted, ValidatedVideo)
    late = msgspec.structs.replace(
        event, job=msgspec.structs.replace(event.job, deadline=WRITTEN_AT)
    )
    value = msgspec.json.encode(late)
    found = await pipeline.run(
        as_incoming(Outgoing(VALIDATED, accepted.key, value, accepted.headers))
    )
    assert isinstance(found["r1"], Expired)
